// npm run verify -- [OPTIONS] [ID…]
//
// Loads real weights from the Hugging Face hub on Dawn in Node, and compares features with numbers that
// Hugging Face's own tests publish. Without an ID, verifies every checkpoint that has published numbers.
// Compiles the sources itself: no build is needed.
//
//   --base-url URL    a mirror of the hub
//   --image FILE      a PNG. Default: 000000039769.png of transformers' tests, the image of the published numbers
//   --expected FILE   numbers of your own for one checkpoint, for instance a fine-tuned one: a JSON object with
//     last_hidden_state   the first channels of the first tokens, as `hidden[0, :4, :8].tolist()` prints them
//     label               the most likely class, for checkpoints with a classifier; one of the two is required
//     atol, rtol          tolerance: atol + rtol * |expected|; default 1e-4 and 1e-5
//     posEmbed            'plain', 'antialias' or 'offset', if not the checkpoint's own (LoadOptions)
//     pixels              how the image was rotated and resized (PixelOptions). Default { "orientation": "ignore",
//                         "resize": "crop" }, as Image.open and BitImageProcessor do. Use "respect" for numbers of an
//                         image that was read with load_image
//     source              where the numbers come from, for the table
//   scripts/make-fixtures/make_verify.py writes such a file.
//   --markdown FILE   writes the results as a Markdown table, too
//
// Exit code 0: everything matches. 1: something differs. 2: nothing differs, but something could not be
// compared (no network, no GPU, no published numbers, unreadable numbers).
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { createServer } from 'vite';
import { chromiumPath, pollLessOften, useSwiftShader, vulkanFolder } from './software-gpu.mjs';
import { plainShaders, webAssembly } from './text-plugins.mjs';

/** A photograph of two cats from COCO val2017, 640 × 480. */
const IMAGE =
  'https://raw.githubusercontent.com/huggingface/transformers/v4.35.2/tests/fixtures/tests_samples/COCO/000000039769.png';

/**
 * Published numbers, in the form of an --expected file. The comparison is that of torch.testing.assert_close.
 */
const PUBLISHED = {
  'facebook/dinov2-base': {
    source: 'transformers 4.35.2, tests/models/dinov2/test_modeling_dinov2.py',
    last_hidden_state: [
      [-2.1747, -0.4729, 1.0936],
      [-3.278, -0.8269, -0.921],
      [-2.9129, 1.1284, -0.7306],
    ],
    atol: 1e-4,
    rtol: 1e-5,
    // transformers 4.35.2 interpolated position embeddings as facebookresearch does. Later versions do not,
    // but still publish the numbers of that version.
    posEmbed: 'offset',
  },
  'facebook/dinov2-with-registers-base': {
    source: 'transformers 04d4145, tests/models/dinov2_with_registers/test_modeling_dinov2_with_registers.py',
    last_hidden_state: [
      [-0.4638, -1.4563, -0.0289],
      [-1.4736, -0.8866, 0.3005],
      [0.072, -0.2406, -1.5943],
    ],
    // These numbers were published for pixels of torchvision's resize, in which about one byte in a hundred
    // differs from Pillow's. A wrong interpolation of position embeddings, or another error of the model,
    // would change the output by tenths.
    atol: 5e-3,
    rtol: 0,
    posEmbed: 'antialias',
  },
  'facebook/dinov2-small-imagenet1k-1-layer': {
    source: 'transformers 4.35.2, modeling_dinov2.py (_IMAGE_CLASS_EXPECTED_OUTPUT)',
    label: 'tabby, tabby cat',
  },
};

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'base-url': { type: 'string' },
    image: { type: 'string' },
    expected: { type: 'string' },
    markdown: { type: 'string' },
  },
});
const ids = positionals.length > 0 ? positionals : Object.keys(PUBLISHED);
const baseUrl = values['base-url'];

/** Thrown if a comparison could not run, which says nothing about the library's correctness. */
class CouldNotRun extends Error {}

async function readImage() {
  const from = values.image ?? IMAGE;
  try {
    let bytes;
    if (/^https?:/.test(from)) {
      const response = await fetch(from);
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      bytes = Buffer.from(await response.arrayBuffer());
    } else {
      bytes = await readFile(from);
    }
    if (bytes.subarray(1, 4).toString('latin1') !== 'PNG') throw new Error('the file is not a PNG');
    return new Blob([bytes]);
  } catch (error) {
    throw new CouldNotRun(
      `the image ${from} cannot be read: ${[error.message, error.cause?.message].filter(Boolean).join(', ')}`,
    );
  }
}

/** Returns the expected numbers by checkpoint id: from the --expected file, or the published numbers. */
async function readExpected() {
  const file = values.expected;
  if (file === undefined) return PUBLISHED;
  if (ids.length !== 1 || positionals.length !== 1)
    throw new CouldNotRun(
      `--expected ${file} needs exactly one checkpoint id, as in npm run verify -- --expected ${file} owner/name`,
    );
  let given;
  try {
    given = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw new CouldNotRun(`the numbers in ${file} cannot be read: ${error.message}`);
  }
  const { last_hidden_state: tokens, label, atol = 1e-4, rtol = 1e-5, source = file, ...rest } = given ?? {};
  const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);
  const areTokens = (rows) =>
    Array.isArray(rows) &&
    rows.length > 0 &&
    rows.every((row) => Array.isArray(row) && row.length > 0 && row.every(isNumber));
  if (tokens === undefined && label === undefined)
    throw new CouldNotRun(`${file}: expected last_hidden_state or label, found neither`);
  if (tokens !== undefined && !areTokens(tokens))
    throw new CouldNotRun(
      `last_hidden_state in ${file}: expected a list of tokens, each a list of finite numbers, as hidden[0, :4, :8].tolist() prints them`,
    );
  if (!isNumber(atol) || !isNumber(rtol) || atol < 0 || rtol < 0)
    throw new CouldNotRun(`atol and rtol in ${file}: expected numbers from 0, found ${atol} and ${rtol}`);
  const unknown = Object.keys(rest).filter((name) => name !== 'posEmbed' && name !== 'pixels');
  if (unknown.length > 0)
    throw new CouldNotRun(
      `${file}: unknown field ${unknown.join(', ')}. The fields are last_hidden_state, label, atol, rtol, posEmbed, pixels and source`,
    );
  return { [ids[0]]: { ...rest, last_hidden_state: tokens, label, atol, rtol, source } };
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

/**
 * Verifies one checkpoint. Returns rows of a table: [compared value, expected, found, distance, is within
 * tolerance].
 */
async function verify({ DINOv2 }, id, wanted, image) {
  if (!wanted)
    throw new CouldNotRun(
      `no published numbers: they exist for ${Object.keys(PUBLISHED).join(', ')}. For other checkpoints use --expected FILE`,
    );
  const { last_hidden_state: tokens = [], label, atol, rtol, posEmbed, pixels } = wanted;
  let shown = 0;
  const onProgress = ({ loadedBytes, totalBytes }) => {
    if (loadedBytes - shown < 2e7) return;
    shown = loadedBytes;
    process.stderr.write(
      `  ${id}: ${(loadedBytes / 1e6).toFixed(0)}${totalBytes ? ` of ${(totalBytes / 1e6).toFixed(0)}` : ''} MB\r`,
    );
  };
  const model = await DINOv2.fromPretrained(id, { baseUrl, posEmbed, onProgress }).catch((error) => {
    throw error.name === 'SourceError'
      ? new CouldNotRun(`its files could not be loaded: ${error.message}`)
      : error;
  });
  try {
    const { vendor, architecture, description } = model.adapter;
    adapterName = [vendor, architecture, description].filter(Boolean).join(' ');
    console.log(`\n${id}, on ${adapterName}\n  against ${wanted.source}`);
    const rows = [];
    if (label !== undefined) {
      if (!model.classifier) throw new Error('the checkpoint has no classifier that this library can load');
      const [best] = await model.classifier.classify(image, { ...pixels, topK: 1 });
      rows.push([
        'most likely class',
        label,
        best.label,
        `score ${best.score.toFixed(3)}`,
        best.label === label,
      ]);
    }
    if (tokens.length === 0) return rows;
    const features = await model.features(image, pixels);
    const hidden = await features.lastHiddenState();
    const { numTokens, embedDim } = features;
    features.dispose();
    const widest = Math.max(...tokens.map((token) => token.length));
    if (tokens.length > numTokens || widest > embedDim)
      throw new Error(
        `last_hidden_state: expected at most ${numTokens} tokens of ${embedDim} channels, the size for this image, found ${tokens.length} of ${widest}`,
      );
    for (const [row, token] of tokens.entries()) {
      for (const [column, expected] of token.entries()) {
        const found = hidden[row * embedDim + column];
        const distance = Math.abs(found - expected);
        const bound = atol + rtol * Math.abs(expected);
        rows.push([
          `last_hidden_state[0, ${row}, ${column}]`,
          expected.toFixed(4),
          found.toFixed(4),
          `${distance.toExponential(1)} of ${bound.toExponential(1)}`,
          distance <= bound,
        ]);
      }
    }
    return rows;
  } finally {
    model.dispose();
  }
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
let expectedNumbers = {};
let adapterName = 'no adapter';
let server;
try {
  const expected = await readExpected();
  expectedNumbers = expected;
  const image = await readImage();
  await findGpu();
  server = await libraryServer();
  const library = await server.ssrLoadModule('/src/index.ts');
  for (const id of ids) {
    try {
      const rows = await verify(library, id, expected[id], image);
      for (const [what, expected, found, distance, holds] of rows)
        console.log(
          `  ${what.padEnd(26)} ${expected.padStart(18)} ${found.padStart(18)}   ${distance.padEnd(20)} ${holds ? 'holds' : 'DIFFERS'}`,
        );
      const holds = rows.length > 0 && rows.every(([, , , , isWithin]) => isWithin);
      outcomes.push([id, holds ? 'holds' : 'DIFFERS', rows]);
    } catch (error) {
      const could = !(error instanceof CouldNotRun);
      console.error(`\n${id}: ${could ? 'failed' : 'could not be compared'}: ${error.message}`);
      outcomes.push([id, could ? 'DIFFERS' : 'could not run']);
    }
  }
} catch (error) {
  if (!(error instanceof CouldNotRun)) throw error;
  console.error(`verify could not run: ${error.message}. Nothing was compared.`);
  for (const id of ids) outcomes.push([id, 'could not run']);
} finally {
  await server?.close();
}
console.log(`\n${outcomes.map(([id, outcome]) => `${outcome.padEnd(14)} ${id}`).join('\n')}`);
if (values.markdown !== undefined) await writeFile(values.markdown, markdownOf(adapterName));
process.exit(
  outcomes.some(([, outcome]) => outcome === 'DIFFERS')
    ? 1
    : outcomes.every(([, outcome]) => outcome === 'holds')
      ? 0
      : 2,
);
