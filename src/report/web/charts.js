// The parts of ECharts that the page uses, and what all its charts have in common.

import { BarChart, CustomChart, LineChart, ScatterChart } from 'echarts/charts';
import {
  AriaComponent, DataZoomComponent, GridComponent, LegendComponent, MarkAreaComponent, MarkLineComponent, TooltipComponent,
} from 'echarts/components';
import * as echarts from 'echarts/core';
import { CanvasRenderer } from 'echarts/renderers';
import { colour, onColours } from './theme.js';

echarts.use([
  AriaComponent, BarChart, CanvasRenderer, CustomChart, DataZoomComponent, GridComponent, LegendComponent, LineChart,
  MarkAreaComponent, MarkLineComponent, ScatterChart, TooltipComponent,
]);

export const clip = echarts.graphic.clipRectByRect;

/** A chart in `container` that follows its size. `options(colour)` says what it shows, in the colours of the moment. */
export function makeChart(container, options) {
  const chart = echarts.init(container);
  const redraw = () => chart.setOption(options(colour), { replaceMerge: ['series'] });
  onColours(redraw);
  new ResizeObserver(() => chart.resize()).observe(container);
  return { chart, redraw };
}

/** Text, lines and tooltips in the page's colours. */
export function common(colour, description) {
  return {
    animation: false,
    aria: { enabled: true, label: { description } },
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: colour('--ink') },
    tooltip: {
      confine: true,
      backgroundColor: colour('--surface'),
      borderColor: colour('--line'),
      textStyle: { color: colour('--ink') },
    },
  };
}

export function axis(colour, more) {
  return {
    axisLine: { lineStyle: { color: colour('--grey-dark') } },
    axisTick: { show: false },
    axisLabel: { color: colour('--muted'), ...more?.axisLabel },
    splitLine: { lineStyle: { color: colour('--line') }, ...more?.splitLine },
    nameTextStyle: { color: colour('--muted') },
    ...Object.fromEntries(Object.entries(more ?? {}).filter(([key]) => !['axisLabel', 'splitLine'].includes(key))),
  };
}
