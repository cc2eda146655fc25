// Sets the page up: each part shows itself where the report has what it needs.

import { setUpErrors } from './errors.js';
import { element } from './format.js';
import { setUpGraph } from './graph.js';
import { setUpRanges } from './ranges.js';
import { selectFromAddress } from './selection.js';
import { setUpNodes, setUpTensors } from './tables.js';
import { setUpTensor } from './tensor.js';
import { setUpTheme } from './theme.js';

/** Links to the sections that are there. */
function contents() {
  const nav = document.getElementById('contents');
  const titles = { comparison: 'Summary', repairs: 'Repairs' };
  for (const section of document.querySelectorAll('main > section[id]')) {
    const title = section.dataset.title ?? titles[section.id];
    if (!title || section.hidden) continue;
    nav.append(Object.assign(element('a', '', title), { href: `#${section.id}` }));
  }
  nav.hidden = nav.childElementCount === 0;
}

const start = performance.now();
setUpTheme();
setUpTensors();
setUpNodes();
setUpRanges();
setUpErrors();
setUpTensor();
setUpGraph();
contents();
selectFromAddress();
addEventListener('hashchange', selectFromAddress);
document.documentElement.dataset.ready = ''; // What tests wait for.
performance.measure('page', { start, end: performance.now() });
