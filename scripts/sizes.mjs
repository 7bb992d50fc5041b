// Download sizes of pages that use the built library: bundled with tree shaking, minified and gzipped.
//
//   node scripts/sizes.mjs                      prints the sizes of dist/ as JSON, in bytes
//   node scripts/sizes.mjs --against COMMIT     builds a commit in a folder of its own, and prints a Markdown table
//                                               of its sizes and of those of dist/
//
// test/size.e2e.test.ts compares the same sizes with their limits.
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'vite';

/** Imports whose sizes are measured: [names, entry]. */
export const IMPORTS = [
  ['DINOv2', 'index'],
  ['DINOv2, PCA', 'index'],
  ['cosineSimilarity', 'index'],
  ['checkSupport', 'index'],
  ['parseSafetensors, encodeSafetensors', 'safetensors'],
  ['DINOv2, Features, PCA', 'worker'],
  ['EmbeddingIndex, ingest', 'search'],
];

/** The lazy parts that a published model from a URL needs until the first features of a JPEG. */
export const FIRST_FEATURES = ['engine', 'selfTest', 'imageHeader', 'jpeg'];

/** A page's script that uses `names` of an entry. */
export const use = (names, entry) =>
  `import { ${names} } from './dist/${entry}.js'; globalThis.used = [${names}];`;

/**
 * Leaves out the helper that Vite adds to each page with a dynamic import: about 1.3 kB gzipped, which preload
 * style sheets. It is no code of the library, and other bundlers add none.
 */
const withoutPreloadHelper = {
  name: 'without-preload-helper',
  enforce: 'pre',
  transform: (_, id) =>
    id.includes('vite/preload-helper') ? 'export const __vitePreload = (load) => load();' : undefined,
};

/**
 * Bundles a page with this script. Returns its chunks by file name.
 * @param {string} folder holds dist/ and package.json, which lists the files with side effects
 * @param {string} script
 */
export async function bundle(folder, script) {
  const input = join(folder, 'page.js');
  writeFileSync(input, script);
  const made = await build({
    root: folder,
    configFile: false,
    logLevel: 'error',
    plugins: [withoutPreloadHelper],
    build: { write: false, target: 'es2023', modulePreload: false, rolldownOptions: { input } },
  });
  const outputs = [made].flat().flatMap((each) => ('output' in each ? each.output : []));
  return new Map(outputs.filter(({ type }) => type === 'chunk').map((file) => [file.fileName, file]));
}

/**
 * Returns the gzipped bytes of the entry, of the lazy chunks with these names, and of all their imports.
 * @param {Awaited<ReturnType<typeof bundle>>} chunks
 * @param {readonly string[]} lazy
 */
export function bytesOf(chunks, lazy = []) {
  const found = new Set();
  const add = (file) => {
    if (found.has(file)) return;
    found.add(file);
    for (const each of chunks.get(file).imports) add(each);
  };
  const names = [...chunks.values()].map(({ name }) => name);
  const missing = lazy.filter((name) => !names.includes(name));
  if (missing.length > 0)
    throw new Error(`There is no chunk ${missing.join(', ')}. The chunks are ${names.join(', ')}.`);
  for (const [file, { name, isEntry }] of chunks) if (isEntry || lazy.includes(name)) add(file);
  return [...found].reduce((sum, file) => sum + gzipSync(chunks.get(file).code, { level: 9 }).length, 0);
}

const root = fileURLToPath(new URL('..', import.meta.url));

async function measure() {
  const folder = mkdtempSync(join(tmpdir(), 'sizes-'));
  try {
    cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
    copyFileSync(join(root, 'package.json'), join(folder, 'package.json'));
    const sizes = {};
    for (const [names, entry] of IMPORTS)
      sizes[`import { ${names} } from '${entry}'`] = bytesOf(await bundle(folder, use(names, entry)));
    const page = await bundle(folder, use('DINOv2', 'index'));
    return { ...sizes, 'until the first features': bytesOf(page, FIRST_FEATURES) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Builds a commit in a folder of its own, with its own packages, and returns the sizes that its script prints. */
function measureCommit(commit) {
  const folder = join(mkdtempSync(join(tmpdir(), 'commit-')), 'checkout');
  const run = (command, args, cwd, stdout = 2) =>
    execFileSync(command, args, { cwd, stdio: ['ignore', stdout, 2], encoding: 'utf8' });
  run('git', ['worktree', 'add', '--detach', folder, commit], root);
  try {
    run(process.execPath, ['scripts/install.mjs'], folder);
    run('npm', ['run', 'build'], folder);
    return JSON.parse(run(process.execPath, ['scripts/sizes.mjs'], folder, 'pipe'));
  } finally {
    run('git', ['worktree', 'remove', '--force', folder], root);
  }
}

function table(before, after) {
  const kilobytes = (bytes) => (bytes === undefined ? '–' : (bytes / 1000).toFixed(1));
  const rows = [...new Set([...Object.keys(before), ...Object.keys(after)])].map((what) => {
    const change = (after[what] ?? 0) - (before[what] ?? 0);
    return `| ${what} | ${kilobytes(before[what])} | ${kilobytes(after[what])} | ${change > 0 ? '+' : ''}${change} |`;
  });
  return ['| gzipped | before, kB | after, kB | bytes |', '| --- | --: | --: | --: |', ...rows].join('\n');
}

if (realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const [option, commit] = process.argv.slice(2);
  if (option === undefined) {
    console.log(JSON.stringify(await measure(), undefined, 2));
  } else if (option === '--against' && commit !== undefined) {
    console.log(table(measureCommit(commit), await measure()));
  } else {
    console.error('usage: node scripts/sizes.mjs [--against COMMIT]');
    process.exitCode = 2;
  }
}
