/** Returns example code that computes what the page shows. */
import type { PatchPosition } from '../../src/index.js';
import { hubId, type ModelChoice } from '../shared/modelChoice.js';
import type { InputSize } from '../shared/picture.js';
import type { TabName } from './address.js';
import type { AttentionChoice } from './attention.js';

export interface CodeState {
  readonly choice: ModelChoice;
  readonly input: InputSize;
  readonly tab: TabName;
  readonly foreground: boolean;
  readonly patch: PatchPosition;
  readonly attention: AttentionChoice;
}

export function code({ choice, input, tab, foreground, patch, attention }: CodeState): string {
  const options = [
    input === 'crop' ? '' : `resize: 'fit', longestSide: ${input}`,
    tab === 'attention' ? 'attentions: [last]' : '',
    `orientation: 'respect'`,
  ];
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
      `const row = await features.attention(last, { query: ${queryText(attention)}, head: ${headText(attention)} });`,
      `const patches = row.slice(1 + features.numRegisterTokens); // after the class token and the registers`,
      `new PatchMap(features.rows, features.cols, patches).draw(canvas);`,
    ],
  }[tab];
  const imported = { pca: 'PCA', similarity: 'PatchSimilarity', attention: 'PatchMap' }[tab];
  return [
    `import { DINOv2, ${imported} } from 'dinov2-webgpu';`,
    ``,
    `const model = await ${loadCall(choice)};`,
    ...(tab === 'attention' ? [`const last = model.config.depth - 1; // blocks count from 0`] : []),
    `// image: a Blob, <img>, canvas, video, URL …`,
    `const features = await model.features(image, { ${options.filter(Boolean).join(', ')} });`,
    ...body,
    `features.dispose(); // frees its GPU memory`,
  ].join('\n');
}

const queryText = ({ query }: AttentionChoice): string =>
  query === 'cls' ? `'cls'` : `{ row: ${query.row}, col: ${query.col} }`;
const headText = ({ head }: AttentionChoice): string => (head === 'mean' ? `'mean'` : String(head));

const files = ({ config, preprocessor }: ModelChoice): string =>
  ['weights: file', config ? 'config' : '', preprocessor ? 'preprocessor' : ''].filter(Boolean).join(', ');

function loadCall(choice: ModelChoice): string {
  const dtype = choice.dtype === 'fp32' ? '' : `dtype: '${choice.dtype}'`;
  const registers = choice.registers ? 'registers: true' : '';
  const options = (...parts: string[]): string => {
    const given = parts.filter((part) => part !== '').join(', ');
    return given && `, { ${given} }`;
  };
  switch (choice.weights) {
    case 'hub':
      return `DINOv2.fromPretrained('${hubId(choice)}'${options(dtype)})`;
    case 'file':
      return `DINOv2.fromFiles({ ${files(choice)} }${options(dtype)})`;
    case 'synthetic':
      return `DINOv2.synthetic('${choice.size}'${options(registers, dtype)})`;
  }
}
