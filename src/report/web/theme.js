// Light or dark: as the system, or as chosen; and colours for what is drawn on a canvas.

const key = 'halfsafe-theme';
const listeners = [];
const system = matchMedia('(prefers-color-scheme: dark)');

/** Calls `redraw` now and whenever colours change. */
export function onColours(redraw) {
  listeners.push(redraw);
  redraw();
}

/** The value of a colour of style.css, such as "--ink". */
export function colour(name) {
  const probe = document.createElement('i');
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function apply(theme) {
  if (theme === 'auto') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  listeners.forEach((redraw) => redraw());
}

// A browser may refuse to keep anything for a page that is a file.
function kept() {
  try {
    const theme = localStorage.getItem(key);
    return ['light', 'dark'].includes(theme) ? theme : 'auto';
  } catch {
    return 'auto';
  }
}

function keep(theme) {
  try {
    localStorage.setItem(key, theme);
  } catch { /* Then it holds for this visit. */ }
}

export function setUpTheme() {
  const label = document.getElementById('theme');
  const select = label.querySelector('select');
  select.value = kept();
  apply(select.value);
  select.addEventListener('change', () => { keep(select.value); apply(select.value); });
  system.addEventListener('change', () => apply(select.value));
  // Paper is white.
  addEventListener('beforeprint', () => apply('light'));
  addEventListener('afterprint', () => apply(select.value));
  label.hidden = false;
}
