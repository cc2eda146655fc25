// Opens a page in headless Chromium, runs a script against it, and prints what happened as JSON.
//
//   usage: node visit.mjs MODULES CHROMIUM FILE <OPTIONS
//
// MODULES is a node_modules folder with playwright-core. OPTIONS, on standard input, is JSON: width, dark, javascript (false
// turns it off), hash, and script, the body of an async function of `page`. Prints {value, console, errors, requests}.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [modules, executablePath, file] = process.argv.slice(2);
const { chromium } = createRequire(resolve(modules, 'visit.js'))('playwright-core');
const options = { width: 1280, dark: false, javascript: true, hash: '', script: '', ...JSON.parse(readFileSync(0, 'utf8')) };

const browser = await chromium.launch({
  executablePath,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync'],
});
const seen = { value: null, console: [], errors: [], requests: [] };
try {
  const context = await browser.newContext({
    viewport: { width: options.width, height: 900 },
    colorScheme: options.dark ? 'dark' : 'light',
    javaScriptEnabled: options.javascript,
    offline: true,
  });
  const page = await context.newPage();
  page.on('console', (message) => seen.console.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => seen.errors.push(String(error.stack)));
  page.on('dialog', (dialog) => { seen.errors.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', (request) => seen.requests.push(request.url()));
  await page.goto(pathToFileURL(resolve(file)).href + options.hash);
  if (options.javascript) await page.waitForSelector('html[data-ready]', { state: 'attached' });
  seen.value = await new (async () => {}).constructor('page', options.script)(page);
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
