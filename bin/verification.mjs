/**
 * Compares numbers of a checkpoint with those of Python, for the command `verify` and for scripts/verify.mjs.
 *
 * A file of expected numbers is a JSON object with
 *   last_hidden_state   the first channels of the first tokens, as `hidden[0, :4, :8].tolist()` prints them
 *   label               the most likely class, for checkpoints with a classifier; one of the two is required
 *   atol, rtol          tolerance: atol + rtol * |expected|; default 1e-4 and 1e-5
 *   posEmbed            'plain', 'antialias' or 'offset', if not the checkpoint's own (LoadOptions)
 *   pixels              how the image was rotated and resized (PixelOptions). Default { "orientation": "ignore",
 *                       "resize": "crop" }, as Image.open and BitImageProcessor do. Use "respect" for numbers of an
 *                       image that was read with load_image
 *   source              where the numbers come from
 * scripts/make-fixtures/make_verify.py of the repository writes such a file.
 */
import { readFile } from 'node:fs/promises';
import { EXIT } from './table.mjs';

/** A photograph of two cats from COCO val2017, 640 × 480. */
const IMAGE =
  'https://raw.githubusercontent.com/huggingface/transformers/v4.35.2/tests/fixtures/tests_samples/COCO/000000039769.png';

/**
 * Published numbers, in the form of an --expected file. The comparison is that of torch.testing.assert_close.
 */
export const PUBLISHED = {
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

/**
 * Thrown if a comparison could not run, which says nothing about the library's correctness.
 * `isUsage`: an argument is at fault.
 */
export class CouldNotRun extends Error {
  constructor(message, isUsage = false) {
    super(message);
    this.isUsage = isUsage;
  }
}

/** The exit code of a comparison that could not run. */
export const codeOf = ({ isUsage }) => (isUsage ? EXIT.usage : EXIT.incomplete);

/** The exit code of several comparisons. */
export const worstOf = (codes) =>
  [EXIT.failed, EXIT.usage, EXIT.incomplete].find((code) => codes.includes(code)) ?? EXIT.done;

/**
 * Reads the image.
 * @param from path or URL
 */
export async function readImage(from = IMAGE) {
  try {
    let bytes;
    if (/^https?:/.test(from)) {
      const response = await fetch(from);
      if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
      bytes = Buffer.from(await response.arrayBuffer());
    } else {
      bytes = await readFile(from);
    }
    return new Blob([bytes]);
  } catch (error) {
    throw new CouldNotRun(
      `the image ${from} cannot be read: ${[error.message, error.cause?.message].filter(Boolean).join(', ')}`,
      !/^https?:/.test(from), // the network is no argument
    );
  }
}

/** Returns the expected numbers by checkpoint id: from the file of the option --expected, or the published numbers. */
export async function readExpected(file, ids) {
  if (file === undefined) return PUBLISHED;
  const wrong = (text) => new CouldNotRun(text, true);
  if (ids.length !== 1)
    throw wrong(
      `--expected ${file} needs exactly one checkpoint id, as in verify owner/name --expected ${file}`,
    );
  let given;
  try {
    given = JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw wrong(`the numbers in ${file} cannot be read: ${error.message}`);
  }
  const { last_hidden_state: tokens, label, atol = 1e-4, rtol = 1e-5, source = file, ...rest } = given ?? {};
  const isNumber = (value) => typeof value === 'number' && Number.isFinite(value);
  const areTokens = (rows) =>
    Array.isArray(rows) &&
    rows.length > 0 &&
    rows.every((row) => Array.isArray(row) && row.length > 0 && row.every(isNumber));
  if (tokens === undefined && label === undefined)
    throw wrong(`${file}: expected last_hidden_state or label, found neither`);
  if (tokens !== undefined && !areTokens(tokens))
    throw wrong(
      `last_hidden_state in ${file}: expected a list of tokens, each a list of finite numbers, as hidden[0, :4, :8].tolist() prints them`,
    );
  if (!isNumber(atol) || !isNumber(rtol) || atol < 0 || rtol < 0)
    throw wrong(`atol and rtol in ${file}: expected numbers from 0, found ${atol} and ${rtol}`);
  const unknown = Object.keys(rest).filter((name) => name !== 'posEmbed' && name !== 'pixels');
  if (unknown.length > 0)
    throw wrong(
      `${file}: unknown field ${unknown.join(', ')}. The fields are last_hidden_state, label, atol, rtol, posEmbed, pixels and source`,
    );
  return { [ids[0]]: { ...rest, last_hidden_state: tokens, label, atol, rtol, source } };
}

/**
 * Compares the numbers of one checkpoint.
 * @param library the library: { DINOv2 }
 * @param wanted the expected numbers, as `readExpected` returns them
 * @param options options of `fromPretrained`; `model`: where the checkpoint is, if not at `id`
 * @returns the adapter, the source of the numbers, and rows of a table: [compared value, expected, found, distance,
 *   is within tolerance]
 * @throws CouldNotRun
 */
export async function compare({ DINOv2 }, id, wanted, image, { model: where = id, ...options } = {}) {
  if (!wanted)
    throw new CouldNotRun(
      `no published numbers: they exist for ${Object.keys(PUBLISHED).join(', ')}. For other checkpoints use --expected FILE`,
    );
  const { last_hidden_state: tokens = [], label, atol, rtol, posEmbed, pixels } = wanted;
  const model = await DINOv2.fromPretrained(where, { posEmbed, ...options }).catch((error) => {
    if (error.name === 'SourceError')
      throw new CouldNotRun(`its files could not be loaded: ${error.message}`);
    if (['WEBGPU_MISSING', 'ADAPTER_MISSING'].includes(error.code)) throw new CouldNotRun(error.message);
    throw error;
  });
  try {
    const { vendor, architecture, description } = model.adapter;
    const adapter = [vendor, architecture, description].filter(Boolean).join(' ');
    const rows = [];
    const result = { adapter, source: wanted.source, rows };
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
    if (tokens.length === 0) return result;
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
    return result;
  } finally {
    model.dispose();
  }
}

/** Returns the lines of a table of rows. */
export const tableOf = (rows) =>
  rows.map(
    ([what, expected, found, distance, holds]) =>
      `  ${what.padEnd(26)} ${expected.padStart(18)} ${found.padStart(18)}   ${distance.padEnd(20)} ${holds ? 'holds' : 'DIFFERS'}`,
  );

/** Returns whether all rows hold, of which there must be one. */
export const allHold = (rows) => rows.length > 0 && rows.every(([, , , , holds]) => holds);
