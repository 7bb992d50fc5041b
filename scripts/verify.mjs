// npm run verify -- [OPTIONS] [ID…]
//
// Loads real weights from the Hugging Face hub on Dawn in Node, and compares features with numbers that
// Hugging Face's own tests publish. Without an ID, verifies every checkpoint that has published numbers.
// Compiles the sources itself: no build is needed.
//
//   --base-url URL    a mirror of the hub
//   --image FILE      a PNG. Default: 000000039769.png of transformers' tests, the image of the published numbers
//   --expected FILE   numbers of your own for one checkpoint, for instance a fine-tuned one: see bin/verification.mjs
//   --markdown FILE   writes the results as a Markdown table, too
//
// The exit codes are those of the command verify. 0: everything matches. 1: something differs. 2: wrong arguments,
// nothing was compared. 3: nothing differs, but something could not be compared (no network, no GPU, no published
// numbers).
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createServer } from 'vite';
import { checkOutputs } from '../bin/outputs.mjs';
import { EXIT } from '../bin/table.mjs';
import {
  allHold,
  codeOf,
  compare,
  CouldNotRun,
  PUBLISHED,
  readExpected,
  readImage,
  tableOf,
  worstOf,
} from '../bin/verification.mjs';
import { chromiumPath, pollLessOften, useSwiftShader, vulkanFolder } from './software-gpu.mjs';
import { plainShaders, webAssembly } from './text-plugins.mjs';

const { values, positionals } = await argumentsOf();
const ids = positionals.length > 0 ? positionals : Object.keys(PUBLISHED);
const baseUrl = values['base-url'];

/** Returns the arguments. Ends the process if they are wrong. */
async function argumentsOf() {
  try {
    const found = parseArgs({
      allowPositionals: true,
      options: {
        'base-url': { type: 'string' },
        image: { type: 'string' },
        expected: { type: 'string' },
        markdown: { type: 'string' },
      },
    });
    const { markdown } = found.values;
    if (markdown !== undefined) await checkOutputs('verify', [markdown], true);
    return found;
  } catch (error) {
    console.error(error.message);
    return process.exit(EXIT.usage);
  }
}

/** Sets up Dawn on a hardware GPU. Without a hardware GPU, uses SwiftShader, as the tests do. */
async function findGpu() {
  try {
    const { create, globals } = await import('webgpu');
    Object.assign(globalThis, globals);
    let gpu = create([]);
    let adapter = await gpu.requestAdapter().catch(() => null);
    if (!adapter) {
      useSwiftShader(vulkanFolder(await chromiumPath()) ?? '');
      pollLessOften();
      gpu = create([]);
      adapter = await gpu.requestAdapter().catch(() => null);
    }
    if (!adapter) throw new Error('no adapter');
    Object.defineProperty(globalThis, 'navigator', { value: { gpu }, configurable: true });
  } catch (error) {
    throw new CouldNotRun(`WebGPU is not available in Node: ${error.message}`);
  }
}

function libraryServer() {
  return createServer({
    root: fileURLToPath(new URL('..', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    appType: 'custom',
    plugins: [plainShaders, webAssembly],
    oxc: { target: 'es2022' }, // Node 20 has no `using`
    server: { middlewareMode: true, hmr: false, ws: false, watch: null },
    optimizeDeps: { noDiscovery: true },
  });
}

/** This script loads the library without sharp, so it reads PNG only. */
const isPng = async (image) => (await image.slice(1, 4).text()) === 'PNG';

function progressOf(id) {
  let shown = 0;
  return ({ loadedBytes, totalBytes }) => {
    if (loadedBytes - shown < 2e7) return;
    shown = loadedBytes;
    process.stderr.write(
      `  ${id}: ${(loadedBytes / 1e6).toFixed(0)}${totalBytes ? ` of ${(totalBytes / 1e6).toFixed(0)}` : ''} MB\r`,
    );
  };
}

/** Returns the outcomes of all checkpoints as a Markdown page. */
function markdownOf(adapter) {
  const rows = outcomes.map(([id, outcome, rows = []]) => {
    const source = (expectedNumbers[id]?.source ?? '').replaceAll('|', '\\|');
    return `| ${id} | ${source} | ${rows.length} | ${outcome} |`;
  });
  return `# Verified checkpoints

\`npm run verify\` wrote this page on ${new Date().toISOString().slice(0, 10)}, on ${adapter}. The script loads trained weights, and compares features with numbers that the named source publishes.

| checkpoint | source of the numbers | values | result |
| --- | --- | --: | --- |
${rows.join('\n')}
`;
}

const outcomes = [];
/** The exit code of each comparison. */
const codes = [];
let expectedNumbers = {};
let adapterName = 'no adapter';
let server;
try {
  const expected = await readExpected(values.expected, positionals);
  expectedNumbers = expected;
  const image = await readImage(values.image);
  if (!(await isPng(image)))
    throw new CouldNotRun(`the image ${values.image} cannot be read: the file is not a PNG`, true);
  await findGpu();
  server = await libraryServer();
  const library = await server.ssrLoadModule('/src/index.ts');
  for (const id of ids) {
    try {
      const options = { baseUrl, onProgress: progressOf(id) };
      const { adapter, source, rows } = await compare(library, id, expected[id], image, options);
      adapterName = adapter;
      console.log(`\n${id}, on ${adapter}\n  against ${source}`);
      for (const line of tableOf(rows)) console.log(line);
      outcomes.push([id, allHold(rows) ? 'holds' : 'DIFFERS', rows]);
      codes.push(allHold(rows) ? EXIT.done : EXIT.failed);
    } catch (error) {
      const could = !(error instanceof CouldNotRun);
      console.error(`\n${id}: ${could ? 'failed' : 'could not be compared'}: ${error.message}`);
      outcomes.push([id, could ? 'DIFFERS' : 'could not run']);
      codes.push(could ? EXIT.failed : codeOf(error));
    }
  }
} catch (error) {
  if (!(error instanceof CouldNotRun)) throw error;
  console.error(`verify could not run: ${error.message}. Nothing was compared.`);
  for (const id of ids) outcomes.push([id, 'could not run']);
  codes.push(codeOf(error));
} finally {
  await server?.close();
}
console.log(`\n${outcomes.map(([id, outcome]) => `${outcome.padEnd(14)} ${id}`).join('\n')}`);
if (values.markdown !== undefined) await writeFile(values.markdown, markdownOf(adapterName));
process.exit(worstOf(codes));
