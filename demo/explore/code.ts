/** Returns example code that computes what the page shows. */
import type { PatchPosition } from '../../src/index.js';
import { loadCall } from '../shared/loadCall.js';
import type { ModelChoice } from '../shared/modelChoice.js';
import type { InputSize } from '../shared/picture.js';
import type { TabName } from './address.js';
import type { AttentionChoice } from './attention.js';
import type { Point } from './segments.js';

export interface CodeState {
  readonly choice: ModelChoice;
  readonly input: InputSize;
  readonly tab: TabName;
  readonly foreground: boolean;
  readonly patch: PatchPosition;
  readonly attention: AttentionChoice;
  readonly block: number;
  readonly points: readonly Point[];
  /** True if the page shows the classes of the picture. */
  readonly classes: boolean;
}

export function code(state: CodeState): string {
  const { choice, input, tab, foreground, patch, attention, block, points, classes } = state;
  const size = input === 'crop' ? '' : `resize: 'fit', longestSide: ${input}`;
  const options = [size, tab === 'attention' ? `attentions: [${block}]` : '', `orientation: 'respect'`];
  const body = {
    pca: [
      `const pca = await PCA.fit(features, { foreground: '${foreground ? 'auto' : 'none'}' });`,
      `await pca.draw(features, canvas${foreground ? `, { background: 'transparent' }` : ''});`,
    ],
    similarity: [
      `const similarity = await PatchSimilarity.read(features);`,
      `similarity.map({ row: ${patch.row}, col: ${patch.col} }).draw(canvas);`,
    ],
    attention: [
      `const map = await features.attentionMap(${block}, { query: ${queryText(attention)}, head: ${headText(attention)} });`,
      `map.draw(canvas); // blocks and heads count from 0, the last block is -1`,
    ],
    segments:
      pointsText(points, true) === '' || pointsText(points, false) === ''
        ? [`// Click a part of an object, and a part that does not belong to it.`]
        : [
            `const segmenter = await PatchSegmenter.fit(features, {`,
            `  positive: [${pointsText(points, true)}],`,
            `  negative: [${pointsText(points, false)}],`,
            `});`,
            `const map = await segmenter.map(features); // on the GPU: the probability of each patch`,
            `(await map.read()).draw(canvas, { range: [0, 1] });`,
            `map.dispose();`,
          ],
  }[tab];
  const imported = {
    pca: ', PCA',
    similarity: ', PatchSimilarity',
    attention: '',
    segments: ', PatchSegmenter',
  }[tab];
  return [
    `import { DINOv2${imported} } from 'dinov2-webgpu';`,
    ``,
    `const model = await ${loadCall(choice)};`,
    `// image: a Blob, <img>, canvas, video, URL …`,
    `const features = await model.features(image, { ${options.filter(Boolean).join(', ')} });`,
    ...body,
    `features.dispose(); // frees its GPU memory`,
    ...(classes
      ? [
          `const classes = await model.classifier.classify(image, { ${[size, `orientation: 'respect'`, 'topK: 5'].filter(Boolean).join(', ')} });`,
          `// [{ label, score, … }, …], the highest score first`,
        ]
      : []),
  ].join('\n');
}

const pointsText = (points: readonly Point[], side: boolean): string =>
  points
    .filter(({ on }) => on === side)
    .map(({ row, col }) => `{ row: ${row}, col: ${col} }`)
    .join(', ');

const queryText = ({ query }: AttentionChoice): string =>
  query === 'cls' ? `'cls'` : `{ row: ${query.row}, col: ${query.col} }`;
const headText = ({ head }: AttentionChoice): string => (head === 'mean' ? `'mean'` : String(head));
