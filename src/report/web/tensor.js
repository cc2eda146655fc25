// The card of the selected tensor: its figures, and how its values spread over powers of two.

import { axis, common, makeChart } from './charts.js';
import { limits, observed, operatorOf, original, storedAs } from './data.js';
import { count, element, number, power } from './format.js';
import { onSelect, selected } from './selection.js';

function facts(id) {
  const { tensors, nodes } = observed;
  const stored = observed === original ? storedAs(id) : null;
  const producer = tensors.producer[id];
  const share = (part) => (part ? `${count(part)} (${number((100 * part) / (tensors.count[id] || 1))}%)` : '0');
  const rows = [
    ['operator', operatorOf(observed, id)],
    ['shape', tensors.shape[id] || '–'],
    ['type', tensors.dtype[id]],
    ['largest |x|', number(tensors.abs_max[id])],
    ['smallest', number(tensors.min[id])],
    ['largest', number(tensors.max[id])],
    ['values', count(tensors.count[id])],
    ['past 65504', share(tensors.overflow[id])],
    ['subnormal or zero in FP16', share(tensors.subnormal[id])],
  ];
  if (tensors.inf[id] || tensors.nan[id]) rows.push(['infinite, NaN', `${count(tensors.inf[id])}, ${count(tensors.nan[id])}`]);
  if (tensors.sample[id]) rows.push(['largest in', tensors.sample[id]]);
  if (stored) rows.push(['stored as', stored.type + (stored.exponent ? ` × ${power(-stored.exponent)}` : '')]);
  if (stored?.measured) rows.push(['largest as stored', number(2 ** stored.span.high)]);
  if (producer >= 0 && nodes.reason[producer]) rows.push(['its node', `${nodes.precision[producer]}, ${nodes.reason[producer]}`]);
  return element('dl', '', ...rows.flatMap(([name, value]) => [element('dt', '', name), element('dd', '', value)]));
}

/** Bars of counts over powers of two, with FP16's limits between them. */
function histogram(container) {
  const data = () => observed.tensors.histogram[selected()];
  const { redraw } = makeChart(container, (colour) => {
    const list = data() ?? [0];
    const [first, ...counts] = list;
    const bars = counts.map((n, i) => ({ value: [first + i + 0.5, n || null], itemStyle: { color: colour(first + i >= 15.99 ? '--vermillion' : first + i < limits.normal ? '--grey' : '--blue') } }));
    const base = common(colour, 'How many values lie at each power of two');
    return {
      ...base,
      grid: { left: 8, right: 8, top: 18, bottom: 22 },
      tooltip: { ...base.tooltip, formatter: ({ value }) => `${power(Math.floor(value[0]))} to ${power(Math.floor(value[0]) + 1)}: ${count(value[1])}` },
      xAxis: axis(colour, { type: 'value', min: Math.min(first, -26), max: Math.max(first + counts.length, 20), axisLabel: { formatter: power, hideOverlap: true, fontSize: 10 }, splitLine: { show: false } }),
      yAxis: { type: 'log', show: false, min: 0.5 },
      series: [{
        type: 'bar', data: bars, barWidth: '90%', barCategoryGap: 0,
        markLine: { silent: true, symbol: 'none', label: { fontSize: 10, color: colour('--muted') }, lineStyle: { color: colour('--muted'), type: 'solid' },
          data: [{ xAxis: limits.largest, label: { formatter: '65504' } }, { xAxis: limits.normal, label: { formatter: power(-14) } }, { xAxis: limits.subnormal, label: { formatter: power(-24) } }] },
      }],
    };
  });
  onSelect(() => { container.hidden = !data(); redraw(); });
}

export function setUpTensor() {
  const card = document.getElementById('tensor');
  const title = element('h3'), figures = element('div'), chart = element('div', 'chart');
  card.append(title, figures, chart);
  onSelect((id) => {
    const flag = observed.tensors.overflowing.has(id) ? [element('span', 'flag', ' ▲ overflows')] : [];
    title.replaceChildren(observed.tensors.name[id], ...flag);
    figures.replaceChildren(facts(id));
  });
  histogram(chart);
}
