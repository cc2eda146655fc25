// The table of tensors and the table of nodes.

import { broken, findTensor, fixed, observed, operatorOf, original, storedAs } from './data.js';
import { count, number, power } from './format.js';
import { select } from './selection.js';
import { Table } from './table.js';

const options = (all, values) => [['', all], ...[...new Set(values)].filter(Boolean).sort().map((value) => [value, value])];

function state(tensor) {
  if (broken(observed, tensor)) return '✕ not finite';
  return observed.tensors.overflowing.has(tensor) ? '▲ overflows' : '';
}

export function setUpTensors() {
  const { tensors } = observed;
  const rows = observed.seen;
  if (rows.length === 0) return false;
  const stored = observed === original && fixed
    ? rows.reduce((map, id) => { const as = storedAs(id); if (as) map.set(id, as); return map; }, new Map()) : new Map();
  const storedText = (id) => { const as = stored.get(id); return as ? as.type + (as.exponent ? ` × ${power(-as.exponent)}` : '') : ''; };
  const column = (key) => (id) => tensors[key][id];
  const columns = [
    { title: 'tensor', value: column('name'), width: 170, grow: 3, className: () => 'name', tail: true, search: true },
    { title: 'operator', value: (id) => operatorOf(observed, id), width: 92, grow: 1, search: true },
    { title: 'shape', value: column('shape'), width: 80, grow: 1 },
    { title: 'max |x|', value: column('abs_max'), text: (id) => number(tensors.abs_max[id]), width: 72, number: true },
    { title: 'min', value: column('min'), text: (id) => number(tensors.min[id]), width: 72, number: true },
    { title: 'max', value: column('max'), text: (id) => number(tensors.max[id]), width: 72, number: true },
    { title: 'past 65504', value: column('overflow'), text: (id) => count(tensors.overflow[id]), width: 72, number: true, hint: 'Finite values past 65504' },
    { title: 'subnormal', value: column('subnormal'), text: (id) => count(tensors.subnormal[id]), width: 70, number: true, hint: 'Values other than zero that FP16 makes subnormal or zero' },
  ];
  if (stored.size > 0) columns.push({ title: 'stored as', value: storedText, width: 84 });
  columns.push({ title: 'state', value: state, width: 90, className: (id) => (state(id) ? 'flag' : '') });
  const filters = [
    { label: 'Show', options: [['', 'all'], ['overflow', 'overflowing'], ['results', 'results and inputs'], ['constants', 'constants'], ...(stored.size > 0 ? [['rescaled', 'rescaled']] : [])],
      keep: (id, value) => ({ overflow: () => state(id) !== '', constants: () => tensors.kind[id] === 'constant', results: () => tensors.kind[id] !== 'constant', rescaled: () => Boolean(stored.get(id)?.exponent) })[value]() },
    { label: 'Operator', options: options('all', rows.map((id) => operatorOf(observed, id))), keep: (id, value) => operatorOf(observed, id) === value },
  ];
  document.getElementById('tensors').hidden = false;
  new Table(document.getElementById('tensors-table'), { name: 'tensors', columns, rows, filters, sort: [3, true], open: (id) => select(id, { scroll: true }) });
  return true;
}

export function setUpNodes() {
  const { nodes } = original;
  const rows = nodes.name.map((_, id) => id);
  if (rows.length === 0) return false;
  const column = (key) => (id) => nodes[key][id];
  const planned = nodes.precision.some(Boolean);
  const columns = [
    { title: 'node', value: column('name'), width: 180, grow: 2, className: () => 'name', tail: true, search: true },
    { title: 'operator', value: column('op_type'), width: 100, grow: 1, search: true },
    ...(planned ? [
      { title: 'precision', value: column('precision'), width: 76, className: (id) => (nodes.precision[id] === 'FP32' || nodes.precision[id] === 'BF16' ? 'wide-type' : '') },
      { title: 'reason', value: column('reason'), width: 130, search: true },
      { title: 'evidence', value: column('evidence'), width: 230, grow: 3, search: true },
    ] : []),
    ...(nodes.repair.some(Boolean) ? [{ title: 'repair', value: column('repair'), width: 160, grow: 2, search: true }] : []),
  ];
  const filters = [{ label: 'Operator', options: options('all', nodes.op_type), keep: (id, value) => nodes.op_type[id] === value }];
  if (planned) {
    filters.unshift(
      { label: 'Precision', options: options('all', nodes.precision), keep: (id, value) => nodes.precision[id] === value },
      { label: 'Reason', options: options('all', nodes.reason), keep: (id, value) => nodes.reason[id] === value });
  }
  const open = (id) => {
    const output = nodes.outputs[id][0];
    const tensor = output === undefined ? -1 : observed === original ? output : findTensor(observed, original.tensors.name[output]);
    select(tensor, { scroll: true });
  };
  document.getElementById('nodes').hidden = false;
  const table = new Table(document.getElementById('nodes-table'), { name: 'nodes', columns, rows, filters, open });
  // What the page says of a reason leads to its nodes.
  for (const link of document.querySelectorAll('a[data-reason]')) link.addEventListener('click', () => table.choose('Reason', link.dataset.reason));
  return true;
}
