// Which tensor the page looks at: shared by the chart, the graph and the tables, and kept in the address (#tensor=...).

import { findTensor, observed } from './data.js';

const listeners = [];
const prefix = '#tensor=';
let current = -1;

/** Calls `show` with the number of a tensor of `observed` whenever another is selected. */
export function onSelect(show) {
  listeners.push(show);
}

/** Selects a tensor; `scroll` also brings the graph into view. */
export function select(tensor, { scroll = false, remember = true } = {}) {
  if (tensor < 0) return;
  current = tensor;
  if (remember) history.replaceState(null, '', prefix + encodeURIComponent(observed.tensors.name[tensor]));
  listeners.forEach((show) => show(tensor));
  if (scroll) document.getElementById('graph').scrollIntoView({ behavior: 'auto', block: 'start' });
}

export const selected = () => current;

/** Selects what the address names; returns whether it names a tensor. */
export function selectFromAddress() {
  if (!location.hash.startsWith(prefix)) return false;
  let name = '';
  try {
    name = decodeURIComponent(location.hash.slice(prefix.length));
  } catch {
    return false; // Someone cut the address short.
  }
  const tensor = findTensor(observed, name);
  if (tensor < 0) return false;
  select(tensor, { scroll: true });
  return true;
}
