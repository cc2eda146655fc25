// The chart of every tensor's range along the network.

import { axis, clip, common, makeChart } from './charts.js';
import { broken, fixed, limits, observed, operatorOf, original, span, storedAs, typeOf } from './data.js';
import { element, number, power } from './format.js';
import { onSelect, select, selected } from './selection.js';

/** Beyond this many powers of two from 1 bars are cut: a mask of -3e38 would make all others flat. */
const kReach = 40;
/** Narrower, a bar is no bar any more: tensors are joined then. */
const kLeastPixels = 3;

/** Types of what the result stores. FP32's bars are the widest, so that they come first. */
const tones = { FP32: '--orange', FP16: '--blue', BF16: '--purple' };

/** What is drawn, in the order of computation: one entry for each tensor with values other than zero, or broken ones. */
function entriesOf(graph) {
  const { tensors } = graph;
  return graph.seen
    .filter((id) => tensors.kind[id] !== 'constant')
    .sort((a, b) => tensors.producer[a] - tensors.producer[b] || a - b)
    .map((id) => ({
      id,
      count: 1,
      span: span(graph, id),
      stored: spansByType(graph === original ? storedAs(id) : { type: typeOf(tensors.dtype[id]), span: span(graph, id) }),
      overflows: tensors.overflowing.has(id),
      broken: broken(graph, id),
    }));
}

/** The span of what the result stores, under its type. */
const spansByType = (stored) => (stored?.span ? { [stored.type]: stored.span } : {});

const union = (spans) => (spans.length === 0 ? null : {
  low: Math.min(...spans.map((span) => span.low)), p01: Math.min(...spans.map((span) => span.p01)),
  p99: Math.max(...spans.map((span) => span.p99)), high: Math.max(...spans.map((span) => span.high)),
});

/** Several entries as one: the widest span, and the one that reaches highest to stand for all. */
function join(entries) {
  const spans = (of) => entries.map(of).filter(Boolean);
  const height = (entry) => (entry.overflows ? 1e6 : 0) + (entry.span?.high ?? -1e3);
  const highest = entries.reduce((a, b) => (height(b) > height(a) ? b : a));
  const types = new Set(entries.flatMap((entry) => Object.keys(entry.stored)));
  return {
    id: highest.id,
    count: entries.length,
    span: union(spans((entry) => entry.span)),
    stored: Object.fromEntries([...types].map((type) => [type, union(spans((entry) => entry.stored[type]))])),
    overflows: highest.overflows,
    broken: entries.some((entry) => entry.broken),
  };
}

/** The entries between two positions, joined until each has its pixels; `at` and `width` are positions. */
function visible(entries, from, to, pixels) {
  const first = Math.max(0, Math.floor(from)), last = Math.min(entries.length, Math.ceil(to));
  const step = Math.max(1, Math.ceil(((last - first) * kLeastPixels) / Math.max(pixels, 1)));
  const shown = [];
  for (let at = first; at < last; at += step) {
    const group = entries.slice(at, Math.min(at + step, last));
    shown.push({ at, width: group.length, ...(group.length === 1 ? group[0] : join(group)) });
  }
  return shown;
}

const cut = (exponent) => Math.max(-kReach, Math.min(kReach, exponent));

function tip(entry) {
  const { tensors } = observed;
  const lines = [element('b', '', tensors.name[entry.id])];
  const line = (text, flag) => lines.push(element('span', flag ? 'flag' : '', text));
  if (entry.count > 1) line(`largest of ${entry.count} tensors side by side: zoom in to part them`);
  line(`${operatorOf(observed, entry.id)}, ${tensors.shape[entry.id] || 'shape unknown'}`);
  line(`max |x| ${number(tensors.abs_max[entry.id])}` + (entry.span ? `, smallest about ${power(tensors.low[entry.id])}` : ', zeros only'));
  if (tensors.sample[entry.id]) line(`in ${tensors.sample[entry.id]}`);
  if (entry.broken) line('✕ infinite or NaN in FP32 already', true);
  if (entry.overflows) line(tensors.abs_max[entry.id] > 65504 ? '▲ passes 65504' : '▲ passes the threshold', true);
  const stored = observed === original ? storedAs(entry.id) : null;
  if (observed === fixed) line(`stored as ${typeOf(tensors.dtype[entry.id])}`);
  if (stored) line(`stored as ${stored.type}` + (stored.exponent ? ` times ${power(-stored.exponent)}` : '') +
    (stored.span ? `: up to ${number(2 ** stored.span.high)}` : ''));
  return element('div', 'tip', ...lines);
}

/** A rectangle from one power of two to another over the middle `share` of an entry's width. */
function bar(params, api, entry, low, high, share, style) {
  const [left, top] = api.coord([entry.at, cut(high)]), [right, bottom] = api.coord([entry.at + entry.width, cut(low)]);
  const width = (right - left) * share;
  const rect = { x: left + (right - left - width) / 2, y: top, width: Math.max(width, 1), height: Math.max(bottom - top, 2) };
  const shape = clip(rect, { x: params.coordSys.x, y: params.coordSys.y, width: params.coordSys.width, height: params.coordSys.height });
  return shape && { type: 'rect', shape, style };
}

function barSeries(name, shown, colour, draw) {
  return {
    name,
    type: 'custom',
    itemStyle: { color: colour },
    data: shown.map((entry, index) => [entry.at + entry.width / 2, 0, index]),
    renderItem: (params, api) => ({ type: 'group', children: draw(params, api, shown[api.value(2)]).filter(Boolean) }),
    encode: { x: 0, y: [] },
    clip: true,
  };
}

function markSeries(name, entries, symbol, colour, height) {
  return {
    name, type: 'scatter', symbol, symbolSize: 9, symbolOffset: [0, -8], itemStyle: { color: colour }, z: 5,
    data: entries.map((entry) => ({ value: [entry.at + entry.width / 2, height(entry)], entry })),
  };
}

function limitLines(colour) {
  const line = (y, text, style) => ({ yAxis: y, label: { formatter: text, position: 'end', color: colour(style), fontSize: 11, lineHeight: 13 }, lineStyle: { color: colour(style) } });
  return {
    silent: true, symbol: 'none', lineStyle: { width: 1.4, type: 'solid' },
    data: [
      line(limits.largest, '65504\nlargest', '--vermillion'),
      line(limits.normal, '2⁻¹⁴ least\nnormal', '--muted'),
      line(limits.subnormal, '2⁻²⁴ least\nsubnormal', '--muted'),
    ],
  };
}

const cross = 'path://M0,2L2,0L5,3L8,0L10,2L7,5L10,8L8,10L5,7L2,10L0,8L3,5Z';

/** The chart: its entries, the part of them in view, and the powers of two that they reach. */
class Ranges {
  constructor(entries) {
    this.entries = entries;
    this.view = [0, entries.length];
    this.shown = [];
    const reach = (pick, first, of) => entries.reduce((found, entry) => pick(found, cut(entry.span?.[of] ?? 0)), first);
    this.low = reach(Math.min, -26, 'low');
    this.high = reach(Math.max, 20, 'high') + 2;
  }

  /** Works out what to draw in so many pixels. */
  show(pixels) {
    this.shown = visible(this.entries, ...this.view, pixels);
  }

  at(x) {
    return this.shown.find((entry) => x >= entry.at && x < entry.at + entry.width);
  }

  has(what) {
    return this.entries.some(what);
  }

  /** What is drawn behind the bars: FP16's limits, and bands for what lies beyond them. */
  limits(colour) {
    const band = (from, to, tone, opacity) => [{ yAxis: from, itemStyle: { color: colour(tone), opacity } }, { yAxis: to }];
    return {
      markLine: limitLines(colour),
      markArea: {
        silent: true,
        data: [band(limits.largest, this.high, '--vermillion', 0.07), band(limits.normal, limits.subnormal, '--grey-dark', 0.08),
          band(limits.subnormal, this.low, '--grey-dark', 0.16)],
      },
    };
  }

  /** Wide bars: what was observed. */
  wide(colour) {
    const name = observed === fixed ? 'Fixed model' : 'Original in FP32';
    return barSeries(name, this.shown.filter((entry) => entry.span), colour('--grey'), (params, api, entry) => {
      const { low, p01, p99, high } = entry.span;
      return [bar(params, api, entry, low, high, 0.9, { fill: colour('--grey') }),
        bar(params, api, entry, p01, Math.min(p99, high), 0.9, { fill: colour('--grey-dark') })];
    });
  }

  /** Narrow bars over them: what the result stores in one type. */
  narrow(colour, type) {
    const tone = colour(tones[type]);
    // FP32 is wider and hollow, so that it is told from FP16 without its colour.
    const style = type === 'FP32' ? { fill: colour('--surface'), stroke: tone, lineWidth: 1.6 } : { fill: tone };
    return barSeries(`Fixed: ${type}`, this.shown.filter((entry) => isStoredAs(entry, type)), tone, (params, api, entry) =>
      [bar(params, api, entry, entry.stored[type].low, entry.stored[type].high, type === 'FP32' ? 0.5 : 0.36, style)]);
  }

  /** Marks above what overflows, or is not finite. */
  marks(colour) {
    const past = (entry) => entry.overflows && !entry.broken, height = (entry) => cut(entry.span?.high ?? 0);
    const list = [];
    if (this.has(past)) list.push(markSeries('Overflows', this.shown.filter(past), 'triangle', colour('--vermillion'), height));
    if (this.has((entry) => entry.broken))
      list.push(markSeries('Infinite or NaN', this.shown.filter((entry) => entry.broken), cross, colour('--vermillion'), height));
    return list;
  }

  /** A band behind the selected tensor. */
  selection(colour) {
    const mark = this.shown.find((entry) => entry.id === selected());
    return {
      name: 'selected', type: 'custom', silent: true, z: 1, data: mark ? [[mark.at, 0]] : [], encode: { x: 0, y: [] },
      renderItem: (params, api) => bar(params, api, mark, this.low, this.high, 1, { fill: colour('--blue'), opacity: 0.16 }),
    };
  }

  axes(colour) {
    const end = (e) => (Math.abs(e) < kReach ? '' : e < 0 ? '≤ ' : '≥ ');
    return {
      xAxis: axis(colour, {
        type: 'value', min: 0, max: this.entries.length, name: 'tensors in order of computation', nameLocation: 'middle', nameGap: 10,
        axisLine: { onZero: false, lineStyle: { color: colour('--grey-dark') } }, axisLabel: { show: false }, splitLine: { show: false },
      }),
      yAxis: axis(colour, {
        type: 'value', min: Math.floor(this.low / 4) * 4, max: Math.ceil(this.high / 4) * 4, interval: 8,
        axisLabel: { formatter: (e) => end(e) + power(e) },
      }),
    };
  }

  options(colour) {
    const series = [{ ...this.wide(colour), ...this.limits(colour) },
      ...Object.keys(tones).filter((type) => this.has((entry) => isStoredAs(entry, type))).map((type) => this.narrow(colour, type)),
      ...this.marks(colour), this.selection(colour)];
    const overflowing = this.entries.filter((entry) => entry.overflows).length;
    const base = common(colour, `Ranges of ${this.entries.length} tensors; ${overflowing} overflow. The table of tensors has the figures.`);
    const text = { color: colour('--ink') };
    return {
      ...base,
      ...this.axes(colour),
      grid: { left: 52, right: 76, top: 40, bottom: 74 },
      legend: { data: series.map((one) => one.name).filter((name) => name !== 'selected'), top: 0, left: 0, type: 'scroll', itemWidth: 14, itemHeight: 10, textStyle: text, pageTextStyle: text },
      tooltip: {
        ...base.tooltip, trigger: 'axis', axisPointer: { type: 'shadow', snap: true, shadowStyle: { opacity: 0 } },
        formatter: (items) => { const entry = this.at(items[0]?.axisValue ?? -1); return entry ? tip(entry) : ''; },
      },
      dataZoom: zoom(colour),
      series,
    };
  }
}

const isStoredAs = (entry, type) => Boolean(entry.stored[type]);

/** A slider below the chart, and the wheel with Ctrl: without, the page scrolls. */
function zoom(colour) {
  return [
    {
      type: 'slider', height: 22, bottom: 12, filterMode: 'none', showDetail: false, showDataShadow: false, brushSelect: false,
      borderColor: colour('--line'), fillerColor: colour('--blue-tint'), backgroundColor: colour('--sunk'),
      handleStyle: { color: colour('--surface'), borderColor: colour('--blue') }, moveHandleStyle: { color: colour('--grey') },
    },
    { type: 'inside', filterMode: 'none', zoomOnMouseWheel: 'ctrl', moveOnMouseMove: true, moveOnMouseWheel: false, preventDefaultMouseMove: false },
  ];
}

function lead(entries) {
  const measured = observed === original && entries.some((entry) => storedAs(entry.id)?.measured);
  const narrow = observed === fixed ? 'These are the fixed model’s, as it stores them; narrow bars say in which type.'
    : fixed ? `Narrow bars over them are the ranges of the fixed model, ${measured ? 'measured' : 'as planned'}.` : '';
  return `One bar for each of ${entries.length} tensors, inputs on the left and outputs on the right: from its smallest value ` +
    `other than zero to its largest, stronger where the middle 98% of the values lie. ${narrow}`;
}

export function setUpRanges() {
  const entries = entriesOf(observed);
  if (!entries.some((entry) => entry.span)) return false;
  document.getElementById('ranges').hidden = false;
  document.getElementById('ranges-lead').textContent = lead(entries);
  const container = document.getElementById('ranges-chart'), ranges = new Ranges(entries);
  const fit = () => ranges.show(container.clientWidth - 128);
  fit();
  const { chart, redraw } = makeChart(container, (colour) => ranges.options(colour));
  chart.on('datazoom', () => {
    const { startValue, endValue } = chart.getOption().dataZoom[0];
    ranges.view = [startValue, endValue];
    requestAnimationFrame(() => { fit(); redraw(); });
  });
  chart.getZr().on('click', ({ offsetX, offsetY }) => {
    if (!chart.containPixel('grid', [offsetX, offsetY])) return;
    const entry = ranges.at(chart.convertFromPixel('grid', [offsetX, offsetY])[0]);
    if (entry) select(entry.id, { scroll: true });
  });
  new ResizeObserver(() => { fit(); redraw(); }).observe(container);
  onSelect(redraw);
  return true;
}
