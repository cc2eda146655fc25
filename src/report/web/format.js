// Numbers and names as the page shows them.

/** Four digits, or three and a power of ten, as on the terminal. */
export function number(value) {
  if (value === null || value === undefined) return '–';
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-2 || size >= 1e6)) {
    return value.toExponential(2).replace(/e([+-])(\d)$/, 'e$10$2');
  }
  return String(Number(value.toPrecision(4)));
}

/** Whole numbers with thin spaces between thousands. */
export function count(value) {
  return value === null || value === undefined ? '–' : String(value).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

export const percent = (share) => `${(100 * share).toFixed(1)}%`;

/** Superscript digits, for text outside HTML. */
export function power(exponent) {
  return '2' + String(exponent).replace(/[-\d]/g, (c) => (c === '-' ? '⁻' : '⁰¹²³⁴⁵⁶⁷⁸⁹'[c]));
}

/** A name of at most `length` characters: the end tells more than the beginning. */
export function short(name, length) {
  return name.length <= length ? name : '…' + name.slice(1 - length);
}

/** An element with a class and children, which are elements or text. */
export function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** An element of SVG with attributes and children. */
export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Fills a <select> with [value, text] pairs. */
export function fillSelect(select, options) {
  select.replaceChildren(...options.map(([value, text]) => Object.assign(document.createElement('option'), { value, textContent: text })));
}
