// The halfsafe-report value inside the page (docs/report.md), and questions about it.

const value = JSON.parse(document.getElementById('data').textContent);

/** What is known of tensors that were observed. */
const stats = ['abs_max', 'min', 'max', 'low', 'p01', 'p99', 'sample', 'count', 'nan', 'inf', 'overflow', 'subnormal', 'histogram'];

export const result = value.result;
export const errors = value.errors.map((entry) => ({ ...entry, sample: entry.sample.map(word) }));
export const original = graphOf(value.original, null);
export const fixed = value.fixed && graphOf(value.fixed, original);
/** The graph whose tensors were observed: the original's, but for a check, which looks at the fixed model. */
export const observed = original.seen.length > 0 || !fixed ? original : fixed;

/** Limits of FP16, as powers of two: its largest value is 65504. */
export const limits = { largest: Math.log2(65504), normal: -14, subnormal: -24 };

function word(number) {
  return number === null ? null : value.words[number];
}

/** The columns of a graph with names in place of numbers; rows of tables are indices into the columns. */
function graphOf({ tensors, nodes }, base) {
  const named = (column, of) => (base ? column.map((name) => (typeof name === 'number' ? of[name] : name)) : column);
  const set = (list) => new Set(list);
  // Where nothing was observed there are no such columns.
  if (!tensors.count) tensors = { ...tensors, ...Object.fromEntries(stats.map((key) => [key, tensors.name.map(() => null)])) };
  return {
    tensors: {
      ...tensors,
      name: named(tensors.name, base?.tensors.name),
      kind: tensors.kind.map(word),
      dtype: tensors.dtype.map(word),
      shape: tensors.shape.map(word),
      sample: tensors.sample.map(word),
      outputs: set(tensors.outputs),
      overflowing: set(tensors.overflowing),
    },
    nodes: {
      ...nodes,
      name: named(nodes.name, base?.nodes.name),
      op_type: nodes.op_type.map(word),
      precision: nodes.precision.map(word),
      reason: nodes.reason.map(word),
      evidence: nodes.evidence.map(word),
      repair: nodes.repair.map(word),
      inserted: set(nodes.inserted),
    },
    /** Tensors that some sample, or a weight's values, showed. */
    seen: tensors.name.map((_, id) => id).filter((id) => tensors.count[id] !== null),
  };
}

/** The nodes that read each tensor. */
export function consumers(graph) {
  graph.consumers ??= readers(graph);
  return graph.consumers;
}

function readers({ tensors, nodes }) {
  const lists = tensors.name.map(() => []);
  nodes.inputs.forEach((inputs, node) => new Set(inputs).forEach((tensor) => lists[tensor].push(node)));
  return lists;
}

/** The number of the tensor called `name`; -1 where there is none. */
export function findTensor(graph, name) {
  graph.byName ??= new Map(graph.tensors.name.map((known, id) => [known, id]));
  return graph.byName.get(name) ?? -1;
}

/** The operator that writes a tensor, or what else it is. */
export function operatorOf({ tensors, nodes }, tensor) {
  const producer = tensors.producer[tensor];
  return producer >= 0 ? nodes.op_type[producer] : `(${tensors.kind[tensor]})`;
}

/** Tensors with values that were infinite or no number. */
export function broken({ tensors }, tensor) {
  return (tensors.inf[tensor] ?? 0) + (tensors.nan[tensor] ?? 0) > 0;
}

/** The largest and the smallest power of two of a tensor's values other than zero; null where it has none. */
export function span({ tensors }, tensor) {
  if (tensors.low[tensor] === null || tensors.low[tensor] === undefined) return null;
  return { low: tensors.low[tensor], p01: tensors.p01[tensor], p99: tensors.p99[tensor] + 1, high: Math.log2(tensors.abs_max[tensor]) };
}

const shortTypes = { float32: 'FP32', float16: 'FP16', bfloat16: 'BF16', float64: 'FP64' };

/** A type as people write it. */
export const typeOf = (dtype) => shortTypes[dtype] ?? dtype;

/** How the result stores a tensor of the original: its type, its exponent, and its span where that is known. */
export function storedAs(tensor) {
  const exponent = original.tensors.exponent[tensor];
  const id = fixed ? original.tensors.counterpart[tensor] : -1;
  if (id < 0) return null;
  const dtype = fixed.tensors.dtype[id];
  const measured = span(fixed, id);
  const planned = measured ? null : span(original, tensor);
  if (planned) Object.keys(planned).forEach((key) => { planned[key] -= exponent; });
  return { id, type: typeOf(dtype), exponent, span: measured ?? planned, measured: measured !== null };
}
