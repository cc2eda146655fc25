// A table of any number of rows that a reader sorts, filters and searches. Data are columns, rows are numbers: sorting and
// filtering make a list of numbers and no objects. @tanstack/virtual-core says which rows are in view; only those are in
// the page.

import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from '@tanstack/virtual-core';
import { element, fillSelect } from './format.js';

const kRow = 30;
const kRowsInView = 14;

/** The rows in the order of `column`; those without a value come last, equal ones stay in their order. */
export function sorted(rows, column, descending) {
  const missing = rows.filter((row) => absent(column.value(row)));
  const present = rows.filter((row) => !absent(column.value(row)));
  const keys = new Map(present.map((row) => [row, column.value(row)]));
  const sign = descending ? -1 : 1;
  present.sort((a, b) => {
    const x = keys.get(a), y = keys.get(b);
    return x === y ? 0 : x < y ? -sign : sign;
  });
  return present.concat(missing);
}

const absent = (value) => value === null || value === undefined || value === '';

/** The rows that hold each of the words of `query`, in any case, in their searchable text. */
export function searched(rows, query, textOf) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  return words.length === 0 ? rows : rows.filter((row) => words.every((word) => textOf(row).includes(word)));
}

/**
 * `name`: what the rows are, in the plural. `columns`: {title, value(row), text(row), width, number, className, hint,
 * search, tail}, where a column with `tail` shows the ends of texts that are too long. `rows`: their numbers. `filters`: {label, options: [[value, text]], keep(row, value)}. `sort`: the first order, as
 * [column, descending]. `open(row)`: what a click does; rows are plain without it.
 */
export class Table {
  constructor(container, { name, columns, rows, filters = [], sort = null, open = null, placeholder = 'name, operator, …' }) {
    Object.assign(this, { name, columns, all: rows, filters, order: sort, open, placeholder, active: -1, texts: [] });
    this.query = '';
    this.chosen = filters.map(() => '');
    this.view = rows;
    container.append(this.controls(), this.frame());
    this.virtual();
    this.update('draw');
  }

  controls() {
    const search = Object.assign(element('input'), { type: 'search', placeholder: this.placeholder, spellcheck: false });
    search.addEventListener('input', () => { this.query = search.value; this.update('filter'); });
    const selects = this.filters.map((filter, i) => {
      const select = element('select');
      fillSelect(select, filter.options);
      select.addEventListener('change', () => { this.chosen[i] = select.value; this.update('filter'); });
      filter.select = select;
      return element('label', '', filter.label, select);
    });
    this.said = element('output');
    return element('div', 'controls', element('label', 'wide', `Search ${this.name}`, search), ...selects, this.said);
  }

  frame() {
    const widths = this.columns.map((column) => (column.grow ? `minmax(${column.width}px, ${column.grow}fr)` : `${column.width}px`));
    const least = this.columns.reduce((sum, column) => sum + column.width + 16, 8);
    this.grid = element('div', 'grid');
    this.grid.tabIndex = 0;
    this.grid.setAttribute('role', 'grid');
    this.grid.setAttribute('aria-label', this.name);
    this.grid.style.setProperty('--columns', widths.join(' '));
    this.grid.style.setProperty('--least', `${least}px`);
    this.heads = this.columns.map((column, i) => this.head(column, i));
    this.body = element('div', 'body');
    this.body.setAttribute('role', 'rowgroup');
    const head = element('div', 'head', ...this.heads);
    head.setAttribute('role', 'row');
    this.grid.append(head, this.body);
    this.grid.addEventListener('keydown', (event) => this.key(event));
    this.body.addEventListener('click', (event) => {
      const row = event.target.closest('.row');
      if (row) this.activate(Number(row.dataset.at), true);
    });
    return this.grid;
  }

  head(column, i) {
    const button = Object.assign(element('button', '', column.title), { type: 'button', title: column.hint ?? column.title });
    const head = element('div', column.number ? 'number' : '', button);
    head.setAttribute('role', 'columnheader');
    button.addEventListener('click', () => {
      const [by, descending] = this.order ?? [-1, false];
      // Numbers are looked at from the largest down. A third click gives the order of the model back.
      const first = Boolean(column.number);
      this.order = by !== i ? [i, first] : descending === first ? [i, !first] : null;
      this.update('sort');
    });
    return head;
  }

  /** What is searched in a row, made when it is first asked for. */
  textOf(row) {
    this.texts[row] ??= this.columns.filter((column) => column.search).map((column) => column.value(row)).join('\n').toLowerCase();
    return this.texts[row];
  }

  /** Works out which rows to show, in which order. `what` names the work in the browser's performance timeline. */
  update(what) {
    const start = performance.now();
    let rows = searched(this.all, this.query, (row) => this.textOf(row));
    this.filters.forEach((filter, i) => {
      if (this.chosen[i] !== '') rows = rows.filter((row) => filter.keep(row, this.chosen[i]));
    });
    this.view = this.order ? sorted(rows, this.columns[this.order[0]], this.order[1]) : rows;
    this.heads.forEach((head, i) => {
      if (this.order?.[0] === i) head.setAttribute('aria-sort', this.order[1] ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    });
    this.active = -1;
    this.said.textContent = rows.length === this.all.length ? `${rows.length} ${this.name}` : `${rows.length} of ${this.all.length} ${this.name}`;
    this.grid.setAttribute('aria-rowcount', rows.length + 1);
    this.grid.style.setProperty('--height', `${Math.max(2, Math.min(rows.length, kRowsInView)) * kRow + 48}px`);
    this.grid.scrollTop = 0;
    this.virtualizer.setOptions({ ...this.virtualizer.options, count: this.view.length });
    this.virtualizer._willUpdate();
    this.render();
    performance.measure(`table:${this.name}:${what}`, { start, end: performance.now() });
  }

  virtual() {
    this.virtualizer = new Virtualizer({
      count: this.view.length,
      getScrollElement: () => this.grid,
      estimateSize: () => kRow,
      overscan: 6,
      initialRect: { width: 1000, height: kRowsInView * kRow },
      scrollToFn: elementScroll,
      observeElementRect,
      observeElementOffset,
      scrollPaddingStart: 34,
      onChange: () => this.render(),
    });
    this.virtualizer._didMount();
  }

  render() {
    if (this.view.length === 0) {
      this.body.replaceChildren(element('p', 'empty', `No ${this.name} match.`));
      this.body.style.height = 'auto';
      return;
    }
    this.body.style.height = `${this.virtualizer.getTotalSize()}px`;
    this.body.replaceChildren(...this.virtualizer.getVirtualItems().map(({ index, start }) => this.row(index, start)));
  }

  row(at, start) {
    const row = this.view[at];
    const cells = this.columns.map((column) => {
      const text = column.text ? column.text(row) : String(column.value(row) ?? '');
      const cell = element('div', `${column.number ? 'number' : ''} ${column.tail ? 'tail' : ''} ${column.className?.(row) ?? ''}`, column.tail ? element('bdi', '', text) : text);
      cell.setAttribute('role', 'gridcell');
      if (text.length > 12) cell.title = column.title === '' ? text : String(column.value(row) ?? text);
      return cell;
    });
    const made = element('div', `row ${this.open ? 'link' : ''} ${at === this.active ? 'active' : ''}`, ...cells);
    made.setAttribute('role', 'row');
    made.setAttribute('aria-rowindex', at + 2);
    made.id = `${this.name}-${at}`;
    made.dataset.at = at;
    made.style.transform = `translateY(${start}px)`;
    return made;
  }

  /** Marks a row, brings it into view and, where asked to, opens it. */
  activate(at, open) {
    this.active = Math.max(0, Math.min(at, this.view.length - 1));
    this.virtualizer.scrollToIndex(this.active);
    this.render();
    this.grid.setAttribute('aria-activedescendant', `${this.name}-${this.active}`);
    if (open && this.open) this.open(this.view[this.active]);
  }

  key(event) {
    if (event.target !== this.grid || this.view.length === 0) return;
    const page = kRowsInView - 2;
    const to = { ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + page, PageUp: this.active - page, Home: 0, End: this.view.length - 1 }[event.key];
    if (to !== undefined) this.activate(to, false);
    else if (event.key === 'Enter' && this.active >= 0) this.activate(this.active, true);
    else return;
    event.preventDefault();
  }

  /** Sets the filter with this label as if a reader had. */
  choose(label, value) {
    const filter = this.filters.findIndex((one) => one.label === label);
    this.filters[filter].select.value = value;
    this.chosen[filter] = value;
    this.update('filter');
  }
}
