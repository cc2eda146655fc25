// What each sample makes of the outputs: a chart for one output, and a table of all.

import { axis, common, makeChart } from './charts.js';
import { errors, result } from './data.js';
import { count, element, fillSelect, number, short } from './format.js';
import { Table } from './table.js';

/** Marks and colours of the models: told apart by shape too. */
const styles = {
  'plain FP16': ['triangle', '--vermillion'],
  fixed: ['circle', '--blue'],
  'plain FP16 on GPU': ['emptyTriangle', '--orange'],
  'fixed on GPU': ['emptyCircle', '--green'],
  'fixed, held out': ['diamond', '--purple'],
};

const isNumber = (entry) => entry.dtype.includes('float');
const sizeOf = (entry, i) => (isNumber(entry) ? entry.rel_l2[i] : entry.flip_share[i]);
const limitOf = (entry) => (isNumber(entry) ? result.tolerance.rel_l2 : result.tolerance.max_flips);

/** Where a point stands: an error of zero at the foot of the chart, one that is not finite at its top. */
function height(entry, i, foot, top) {
  const size = sizeOf(entry, i);
  if (size === null || entry.new_nonfinite[i] > 0) return top;
  return Math.max(size, foot);
}

function tip(entry, i) {
  const lines = [element('b', '', entry.sample[i]), element('span', '', `${entry.model}: ${entry.right[i] ? 'right' : 'NOT RIGHT'}`)];
  if (isNumber(entry)) lines.push(element('span', '', `relative L2 error ${number(entry.rel_l2[i])}, max |error| ${number(entry.max_abs[i])}`));
  else lines.push(element('span', '', `${count(entry.flips[i])} elements differ`));
  if (entry.new_nonfinite[i]) lines.push(element('span', 'flag', `${count(entry.new_nonfinite[i])} not finite`));
  return element('div', 'tip', ...lines);
}

function drawChart(container, shownOf) {
  return makeChart(container, (colour) => {
    const shown = shownOf();
    const limit = limitOf(shown[0]);
    const sizes = shown.flatMap((entry) => entry.sample.map((_, i) => sizeOf(entry, i))).filter((size) => size > 0);
    const decade = (value, round) => 10 ** round(Math.log10(value));
    const least = sizes.reduce((a, b) => Math.min(a, b), limit || 1e-3), most = sizes.reduce((a, b) => Math.max(a, b), limit || 1e-3);
    const foot = decade(least / 3, Math.floor), top = decade(most * 3, Math.ceil);
    const samples = [...new Set(shown.flatMap((entry) => entry.sample))];
    const at = new Map(samples.map((sample, i) => [sample, i]));
    const base = common(colour, `Errors of output ${shown[0].output} in ${samples.length} samples. The table has the figures.`);
    const series = shown.map((entry) => {
      const [symbol, tone] = styles[entry.model];
      return {
        name: entry.model, type: 'scatter', symbol, symbolSize: samples.length > 400 ? 4 : 9, color: colour(tone), large: false,
        data: entry.sample.map((sample, i) => ({ value: [at.get(sample), height(entry, i, foot, top)], entry, i })),
      };
    });
    series[0].markLine = { silent: true, symbol: 'none', data: limit > 0 ? [{ yAxis: limit }] : [], lineStyle: { color: colour('--ink'), type: 'dashed' }, label: { formatter: `tolerance ${number(limit)}`, position: 'insideEndTop', color: colour('--ink') } };
    return {
      ...base,
      grid: { left: 62, right: 16, top: 36, bottom: 40 },
      legend: { top: 0, left: 0, itemWidth: 14, itemHeight: 10, textStyle: { color: colour('--ink') } },
      tooltip: { ...base.tooltip, formatter: ({ data }) => tip(data.entry, data.i) },
      xAxis: axis(colour, { type: 'value', min: -0.5, max: samples.length - 0.5, minInterval: 1, name: 'samples', nameLocation: 'middle', nameGap: 22, splitLine: { show: false }, axisLabel: { formatter: (i) => (Number.isInteger(i) && samples.length <= 12 ? short(samples[i] ?? '', 14) : ''), hideOverlap: true } }),
      yAxis: axis(colour, { type: 'log', axisLine: { onZero: false, show: false }, min: foot, max: top, axisLabel: { formatter: (value) => (value === foot ? '≤ ' : value === top ? '≥ ' : '') + value.toExponential(0) } }),
      series,
    };
  });
}

function drawTable(container) {
  const rows = errors.flatMap((entry) => entry.sample.map((_, i) => ({ entry, i })));
  const cell = (read) => (row) => read(rows[row].entry, rows[row].i);
  const columns = [
    { title: 'sample', value: cell((entry, i) => entry.sample[i]), width: 150, grow: 2, className: () => 'name', tail: true, search: true },
    { title: 'output', value: cell((entry) => entry.output), width: 120, grow: 2, className: () => 'name', tail: true, search: true },
    { title: 'model', value: cell((entry) => entry.model), width: 120, search: true },
    { title: 'error', hint: 'Relative L2 error; of integers and bools the share that differs', value: cell(sizeOf), text: (row) => number(cell(sizeOf)(row)), width: 84, number: true },
    { title: 'max |error|', value: cell((entry, i) => entry.max_abs[i]), text: (row) => number(rows[row].entry.max_abs[rows[row].i]), width: 90, number: true },
    { title: 'not finite', value: cell((entry, i) => entry.new_nonfinite[i]), text: (row) => count(rows[row].entry.new_nonfinite[rows[row].i]), width: 80, number: true },
    { title: 'verdict', value: cell((entry, i) => (entry.right[i] ? '✓ right' : '✗ not right')), width: 96, className: cell((entry, i) => (entry.right[i] ? '' : 'flag')) },
  ];
  const models = [...new Set(errors.map((entry) => entry.model))];
  const filters = [{ label: 'Model', options: [['', 'all'], ...models.map((model) => [model, model])], keep: (row, value) => rows[row].entry.model === value }];
  new Table(container, { name: 'errors', columns, placeholder: 'sample, output, model', rows: rows.map((_, i) => i), filters, sort: [3, true] });
}

/** Outputs, the worst of the fixed model first. */
function outputsByError() {
  const worst = new Map();
  for (const entry of errors) {
    const size = entry.sample.reduce((worst, _, i) => Math.max(worst, sizeOf(entry, i) ?? Infinity), 0);
    const weight = entry.model.startsWith('fixed') ? size : 0;
    worst.set(entry.output, Math.max(worst.get(entry.output) ?? 0, weight));
  }
  return [...worst.keys()].sort((a, b) => worst.get(b) - worst.get(a));
}

export function setUpErrors() {
  if (errors.length === 0) return false;
  document.getElementById('errors').hidden = false;
  const outputs = outputsByError();
  const select = document.getElementById('errors-output');
  fillSelect(select, outputs.map((name) => [name, name]));
  select.closest('.controls').hidden = outputs.length < 2;
  const { redraw } = drawChart(document.getElementById('errors-chart'), () => errors.filter((entry) => entry.output === select.value));
  select.addEventListener('change', redraw);
  drawTable(document.getElementById('errors-table'));
  return true;
}
