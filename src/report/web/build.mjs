// Makes the page of --report: bundles the script with esbuild and puts it and the style into page.html.
//
//   usage: node build.mjs MODULES PAGE_HTML PAGE_CC LICENCES
//
// MODULES is the node_modules that npm ci filled. PAGE_HTML is the page with its places for content still open, PAGE_CC
// the same as a C++ source, LICENCES the notices of the packages that went into it.
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = dirname(fileURLToPath(import.meta.url));
const [modules, pagePath, sourcePath, licencesPath] = process.argv.slice(2).map((path) => resolve(path));
const esbuild = createRequire(join(modules, 'halfsafe.js'))('esbuild');

/** Bundled, minified text of one of the sources, and the files that went into it. */
async function bundle(name) {
  const result = await esbuild.build({
    entryPoints: [join(here, name)],
    nodePaths: [modules],
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    format: 'iife',
    target: ['chrome123', 'firefox120', 'safari17.5'], // The first with light-dark().
    legalComments: 'none', // The notices are collected below, whole.
    charset: 'utf8',
    absWorkingDir: modules,
  });
  return { text: result.outputFiles[0].text.trim(), files: Object.keys(result.metafile.inputs) };
}

/** The packages that files belong to, by name. */
function packagesOf(files) {
  const names = files.map((file) => resolve(modules, file)).filter((file) => file.startsWith(modules + '/'))
    .map((file) => file.slice(modules.length + 1).match(/^(@[^/]+\/)?[^/]+/)[0]);
  return [...new Set(names)].sort();
}

/** What a package's licence asks to be passed on. Throws for a package without a licence text. */
function notice(name) {
  const folder = join(modules, name);
  const { version, license } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const isText = (file) => /^(licen[cs]e|copying|notice)/i.test(file);
  const texts = readdirSync(folder).filter(isText).filter((file) => !/^licenses$/i.test(file)).map((file) => join(folder, file));
  const more = readdirSync(folder).filter((file) => /^licenses$/i.test(file))
    .flatMap((sub) => readdirSync(join(folder, sub)).map((file) => join(folder, sub, file)));
  if (texts.length === 0) throw new Error(`${name} has no licence text`);
  const bodies = [...texts, ...more].map((file) => readFileSync(file, 'utf8').trim());
  return `${name} ${version} (${license})\n\n${bodies.join('\n\n')}\n`;
}

/** The policy's word for a script or style that may stand in the page. */
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** String literals of a length that every compiler takes. */
function literals(text) {
  const parts = text.match(/[^]{1,8000}/gu) ?? [];
  const escapes = { '\\': '\\\\', '"': '\\"', '\n': '\\n', '\r': '\\r', '\t': '\\t' };
  return parts.map((part) => `    "${part.replace(/[\\"\n\r\t]/g, (c) => escapes[c]).replace(/\?\?/g, '?\\?')}"`).join('\n');
}

const script = await bundle('main.js');
const style = await bundle('style.css');
const packages = packagesOf(script.files);
const licences = 'Packages inside the page that halfsafe --report writes\n' +
  packages.map((name) => `\n${'='.repeat(100)}\n\n${notice(name)}`).join('');
const policy = `default-src 'none'; script-src ${hash(script.text)}; style-src ${hash(style.text)}; img-src data:; ` +
  `base-uri 'none'; form-action 'none'`;
const parts = { policy, style: style.text, script: script.text, licences: licences.replace(/--/g, '- -') };
for (const [name, text] of Object.entries(parts)) {
  if (/<\/(script|style)/i.test(text) || text.includes('%%halfsafe:')) throw new Error(`${name} would break out of its place`);
}
const page = readFileSync(join(here, 'page.html'), 'utf8').replace(/\{\{(\w+)\}\}/g, (place, name) => parts[name] ?? place);

writeFileSync(licencesPath, licences);
writeFileSync(pagePath, page);
writeFileSync(sourcePath, `// Made by src/report/web/build.mjs.
#include "report/web_page.h"

namespace halfsafe {

std::string_view WebPage() {
  using namespace std::string_view_literals;
  return
${literals(page)}
    ""sv;
}

}  // namespace halfsafe
`);
