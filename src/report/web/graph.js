// The nodes around a tensor: who writes it, who reads it, what was inserted.

import { graphlib, layout } from '@dagrejs/dagre';
import { consumers, fixed, observed, operatorOf, original, result, typeOf } from './data.js';
import { element, fillSelect, number, power, short, svg } from './format.js';
import { onSelect, select, selected } from './selection.js';

/** More nodes than this are no picture any more: those further away are left out. */
const kNodes = 60;
/** Tensors that the list offers, largest first; any other is reached through the table. */
const kListed = 2000;

const width = 190;
const line = 15;

/** Nodes up to `steps` nodes away from the tensor, nearest first. */
function around(graph, tensor, steps) {
  const { tensors, nodes } = graph;
  const producer = tensors.producer[tensor];
  let edge = new Set([...(producer >= 0 ? [producer] : []), ...consumers(graph)[tensor]]);
  const found = new Set(edge);
  for (let step = 1; step < steps && found.size < kNodes; ++step) {
    const next = new Set();
    for (const node of edge) {
      for (const input of nodes.inputs[node]) if (tensors.producer[input] >= 0) next.add(tensors.producer[input]);
      for (const output of nodes.outputs[node]) consumers(graph)[output].forEach((reader) => next.add(reader));
    }
    edge = new Set([...next].filter((node) => !found.has(node)));
    edge.forEach((node) => found.add(node));
  }
  return [...found].slice(0, kNodes);
}

/** A constant in a line of a box: the end of its name, its shape and its largest value. */
function constantText(tensors, id) {
  const rest = ` ${tensors.shape[id]}` + (tensors.abs_max[id] === null ? '' : ` ≤ ${number(tensors.abs_max[id])}`);
  return short(tensors.name[id], Math.max(6, 27 - rest.length)) + rest;
}

/** What stands in a node's box: its operator, its name, and the constants that it reads. */
function linesOf(graph, node) {
  const { tensors, nodes } = graph;
  const constants = nodes.inputs[node].filter((input) => tensors.kind[input] === 'constant');
  const shown = constants.slice(0, 2).map((id) => constantText(tensors, id));
  if (constants.length > 2) shown.push(`and ${constants.length - 2} constants more`);
  return { name: short(nodes.name[node], 27), constants: shown };
}

/** The outline of a box by what its node runs in: round for FP16, square for FP32, cut corners for BF16. */
function outline(precision, w, h) {
  if (precision === 'BF16') {
    const c = 10;
    return svg('path', { class: 'box', d: `M${c},0H${w - c}L${w},${c}V${h - c}L${w - c},${h}H${c}L0,${h - c}V${c}Z` });
  }
  return svg('rect', { class: 'box', width: w, height: h, rx: precision === 'FP16' ? 12 : precision === 'FP32' ? 0 : 6 });
}

function text(x, y, className, content, anchor = 'start') {
  return svg('text', { x, y, class: className, 'text-anchor': anchor }, content);
}

function nodeBox(graph, node, place) {
  const { nodes } = graph;
  const precision = nodes.precision[node], inserted = nodes.inserted.has(node);
  const { name, constants } = linesOf(graph, node);
  const words = `${nodes.op_type[node]}, ${precision || 'no floating point'}${inserted ? ', inserted' : ''}: ${nodes.name[node]}` +
    (nodes.reason[node] ? `. ${nodes.reason[node]}: ${nodes.evidence[node]}` : '') + (nodes.repair[node] ? `. ${nodes.repair[node]}` : '');
  const group = svg('g', {
    class: `${precision.toLowerCase()} ${inserted ? 'inserted' : ''}`, role: 'img', 'aria-label': words,
    transform: `translate(${place.x - place.width / 2} ${place.y - place.height / 2})`,
  });
  group.append(svg('title', {}, words), outline(precision, place.width, place.height));
  group.append(text(10, 19, 'operator', (inserted ? '+ ' : '') + nodes.op_type[node]));
  group.append(text(place.width - 10, 19, 'small', precision, 'end'));
  group.append(text(10, 19 + line, 'name', name));
  constants.forEach((constant, i) => group.append(text(10, 19 + line * (i + 2), 'small', constant)));
  return group;
}

/** A pill for what lies outside the picture: an input, an output, or nodes left out. */
function pill(label, place) {
  const group = svg('g', { class: 'outside', transform: `translate(${place.x - place.width / 2} ${place.y - place.height / 2})` });
  group.append(svg('rect', { class: 'box', width: place.width, height: place.height, rx: place.height / 2 }));
  group.append(text(place.width / 2, place.height / 2 + 4, 'small', label, 'middle'));
  return group;
}

/** What stands beside an edge: type and largest value, the power of two, and what it was before the repair. */
function edgeLines(graph, tensor) {
  const { tensors } = graph;
  const largest = tensors.abs_max[tensor] === null ? '' : ` ≤ ${number(tensors.abs_max[tensor])}`;
  const lines = [(overflows(graph, tensor) ? '▲ ' : '') + typeOf(tensors.dtype[tensor]) + largest];
  if (graph === original) return lines;
  const exponent = exponentOf(graph, tensor);
  if (exponent) lines.push(`stored × ${power(-exponent)}`);
  const origin = tensors.counterpart[tensor];
  if (origin >= 0 && overflows(original, origin)) lines.push(`▲ was ${number(original.tensors.abs_max[origin])}`);
  return lines;
}

/** What a tensor is stored times; of the fixed model's that the original's node writes. */
function exponentOf(graph, tensor) {
  if (graph === original) return 0;
  const origin = graph.tensors.counterpart[tensor];
  return origin >= 0 && original.tensors.counterpart[origin] === tensor ? original.tensors.exponent[origin] : 0;
}

const overflows = (graph, tensor) => graph.tensors.overflowing.has(tensor) ||
  (graph === original && (graph.tensors.inf[tensor] > 0 || graph.tensors.nan[tensor] > 0));

/** The picture as a graph for dagre: nodes by number, pills by name, an edge for each tensor between two of them. */
function arrange(graph, members, tensor) {
  const { tensors, nodes } = graph;
  const inside = new Set(members);
  const drawing = new graphlib.Graph({ multigraph: true });
  drawing.setGraph({ rankdir: 'TB', nodesep: 26, ranksep: 34, marginx: 4, marginy: 4 });
  drawing.setDefaultEdgeLabel(() => ({}));
  for (const node of members) {
    drawing.setNode(`n${node}`, { node, width, height: 32 + line + linesOf(graph, node).constants.length * line - 6 });
  }
  const outside = (name, label) => {
    drawing.setNode(name, { label, width: Math.min(width, 30 + label.length * 6.2), height: 24 });
    return name;
  };
  const connect = (from, to, id) => {
    const lines = edgeLines(graph, id);
    drawing.setEdge(from, to, { tensor: id, lines, width: Math.max(...lines.map((words) => words.length)) * 6, height: 14 * lines.length, labelpos: 'c', weight: id === tensor ? 4 : 1 }, `t${id}`);
  };
  const near = new Set(members.flatMap((node) => [...nodes.inputs[node], ...nodes.outputs[node]]));
  for (const id of near) {
    if (tensors.kind[id] === 'constant') continue;
    const producer = tensors.producer[id];
    const readers = consumers(graph)[id];
    const drawn = readers.filter((reader) => inside.has(reader));
    const from = inside.has(producer) ? `n${producer}`
      : outside(`i${id}`, producer < 0 ? `${tensors.kind[id]} ${short(tensors.name[id], 18)}` : `… ${nodes.op_type[producer]}`);
    drawn.forEach((reader) => connect(from, `n${reader}`, id));
    if (!inside.has(producer)) continue;
    if (tensors.outputs.has(id)) connect(from, outside(`o${id}`, `output ${short(tensors.name[id], 18)}`), id);
    const rest = readers.filter((reader) => !inside.has(reader));
    if (rest.length > 0) connect(from, outside(`r${id}`, rest.length === 1 ? `${nodes.op_type[rest[0]]} …` : `${rest.length} readers …`), id);
  }
  layout(drawing);
  return drawing;
}

function edgePath(points) {
  const [first, ...rest] = points;
  const middle = rest.slice(0, -1).map((point, i) => {
    const next = rest[i + 1];
    return `Q${point.x},${point.y} ${(point.x + next.x) / 2},${(point.y + next.y) / 2}`;
  });
  const last = points[points.length - 1];
  return `M${first.x},${first.y}${middle.join('')}L${last.x},${last.y}`;
}

function draw(graph, tensor, steps) {
  const members = around(graph, tensor, steps);
  const drawing = arrange(graph, members, tensor);
  const { width: w, height: h } = drawing.graph();
  const image = svg('svg', { width: w, height: h, viewBox: `0 0 ${w} ${h}`, role: 'group' });
  image.append(svg('defs', {}, svg('marker', { id: 'arrow', viewBox: '0 0 8 8', refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: 'userSpaceOnUse', orient: 'auto' },
    svg('path', { class: 'arrow', d: 'M0,0L8,4L0,8Z' }))));
  const labels = svg('g');
  for (const { v, w: to, name } of drawing.edges()) {
    const edge = drawing.edge(v, to, name);
    const state = `${overflows(graph, edge.tensor) ? 'overflows' : ''} ${edge.tensor === tensor ? 'selected' : ''}`;
    image.append(svg('path', { class: `edge ${state}`, d: edgePath(edge.points), 'marker-end': 'url(#arrow)' }));
    const label = svg('g', {}, svg('title', {}, graph.tensors.name[edge.tensor]));
    edge.lines.forEach((words, i) => label.append(
      text(edge.x, edge.y + 4 + 14 * (i - (edge.lines.length - 1) / 2), `label ${words.startsWith('▲') ? 'overflows' : ''} ${state}`, words, 'middle')));
    const known = graph === observed ? edge.tensor : graph.tensors.counterpart[edge.tensor];
    if (known >= 0) label.dataset.tensor = known;
    labels.append(label);
  }
  for (const id of drawing.nodes()) {
    const place = drawing.node(id);
    image.append(place.node === undefined ? pill(place.label, place) : nodeBox(graph, place.node, place));
  }
  image.append(labels);
  return image;
}

function legend() {
  const sample = (className, precision, inserted) => {
    const group = svg('g', { class: `${className} ${inserted ? 'inserted' : ''}`, transform: 'translate(1 2)' });
    group.append(outline(precision, 30, 16));
    return svg('svg', { width: 34, height: 20, 'aria-hidden': 'true' }, group);
  };
  const used = new Set((fixed ?? original).nodes.precision);
  const entries = [['FP16', 'round'], ['FP32', 'square'], ['BF16', 'cut corners']].filter(([precision]) => used.has(precision))
    .map(([precision, shape]) => [sample(precision.toLowerCase(), precision), `${precision}: ${shape}`]);
  if (fixed?.nodes.inserted.size > 0) entries.push([sample('', '', true), '+ inserted by the repair: dashed']);
  entries.push([element('span', 'flag', '▲'), 'overflows']);
  document.getElementById('graph-legend').replaceChildren(...entries.map(([mark, words]) => element('li', '', mark, words)));
}

/** Tensors to choose from: those that overflow, largest first, or the first that was seen. */
function choices() {
  const of = [...observed.tensors.overflowing];
  const size = (id) => (observed.tensors.inf[id] + observed.tensors.nan[id] > 0 ? Infinity : observed.tensors.abs_max[id]);
  return of.sort((a, b) => size(b) - size(a)).slice(0, kListed);
}

const titleOf = (id) => `${short(observed.tensors.name[id], 90)}  (${operatorOf(observed, id)}, ${number(observed.tensors.abs_max[id])})`;

export function setUpGraph() {
  if (original.nodes.name.length === 0) return false;
  const list = choices();
  const firstBad = result.plain_fp16?.first_inf ?? result.plain_fp16?.first_nan;
  const [tensors, model, steps] = ['graph-tensor', 'graph-model', 'graph-steps'].map((id) => document.getElementById(id));
  const drawing = document.getElementById('graph-drawing');
  const heading = document.querySelector('#graph h2');
  document.getElementById('graph').hidden = false;
  heading.textContent = list.length > 0 ? 'Around an overflow' : 'Around a tensor';
  legend();
  fillSelect(model, fixed ? [['fixed', 'as repaired'], ['original', 'as it was']] : [['original', 'as it was']]);

  const options = list.map((id) => [id, titleOf(id)]);
  const show = () => {
    const tensor = selected();
    if (!list.includes(tensor)) fillSelect(tensors, [[tensor, titleOf(tensor)], ...options]);
    else if (tensors.options.length !== options.length) fillSelect(tensors, options);
    tensors.value = tensor;
    const graph = model.value === 'fixed' ? fixed : original;
    const here = graph === observed ? tensor : observed.tensors.counterpart[tensor];
    if (here < 0) {
      drawing.replaceChildren(element('p', 'hint', 'This model does not have the tensor.'));
      return;
    }
    drawing.replaceChildren(draw(graph, here, Number(steps.value)));
    centre(drawing);
  };
  onSelect(show);
  [model, steps].forEach((control) => control.addEventListener('change', show));
  tensors.addEventListener('change', () => select(Number(tensors.value)));
  const step = (by) => {
    const at = (tensors.selectedIndex + by + tensors.options.length) % tensors.options.length;
    select(Number(tensors.options[at].value));
  };
  document.getElementById('graph-previous').addEventListener('click', () => step(-1));
  document.getElementById('graph-next').addEventListener('click', () => step(1));
  drawing.addEventListener('click', ({ target }) => {
    const label = target.closest('[data-tensor]');
    if (label) select(Number(label.dataset.tensor));
  });
  const named = firstBad ? observed.tensors.name.indexOf(firstBad.tensor) : -1;
  select(list[0] ?? (named >= 0 ? named : observed.seen.find((id) => observed.tensors.producer[id] >= 0) ?? observed.tensors.producer.findIndex((node) => node >= 0)), { remember: false });
  return true;
}

/** Scrolls the drawing so that the selected edge is in the middle. */
function centre(drawing) {
  const edge = drawing.querySelector('.edge.selected');
  if (!edge) return;
  const box = edge.getBBox();
  drawing.scrollLeft = box.x + box.width / 2 - drawing.clientWidth / 2;
  drawing.scrollTop = box.y + box.height / 2 - drawing.clientHeight / 2;
}
