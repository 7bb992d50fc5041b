/** Returns example code that does what the page does. */
import { hubId, type ModelChoice } from '../shared/modelChoice.js';
import type { TabName } from './address.js';

export function code(tab: TabName, side: number, choice: ModelChoice): string {
  const load =
    choice.weights === 'synthetic'
      ? `DINOv2.synthetic('${choice.size}')`
      : choice.weights === 'hub'
        ? `DINOv2.fromPretrained('${hubId(choice)}')`
        : `DINOv2.fromFiles({ weights: file })`;
  const [imported, before, body] = {
    pca: [
      ', PCA',
      ['let pca;'],
      [
        'pca ??= await PCA.fit(features); // the first frame decides the colours',
        'await pca.drawTo(features, canvas); // nothing is read back from the GPU',
      ],
    ],
    similarity: [
      ', PatchSimilarity',
      ['let vector;'],
      [
        'vector ??= (await PatchSimilarity.read(features)).vector({ x: 320, y: 240 }); // a pixel of the frame',
        'const map = await features.similarity(vector);',
        'await map.drawTo(canvas, { range: [0, 1] });',
        'map.dispose();',
      ],
    ],
    segments: [
      ', PatchSegmenter',
      ['let segmenter;'],
      [
        'segmenter ??= await PatchSegmenter.fit(features, {',
        '  positive: [{ x: 320, y: 240 }], // pixels of the frame',
        '  negative: [{ x: 20, y: 20 }],',
        '});',
        'const map = await segmenter.map(features);',
        `await map.drawTo(canvas, { colormap: 'gray', range: [0, 1] });`,
        'map.dispose();',
      ],
    ],
    tracking: [
      ', PatchTracker',
      ['let tracker;'],
      [
        'tracker ??= await PatchTracker.start(features, { mask: { row: 4, col: 5, rows: 3, cols: 3 } });',
        'const map = await tracker.next(features);',
        `await map.drawTo(canvas, { colormap: 'gray', range: [0, 1] });`,
        'map.dispose();',
      ],
    ],
  }[tab] as [string, string[], string[]];
  return [
    `import { DINOv2${imported} } from 'dinov2-webgpu';`,
    ``,
    `const model = await ${load};`,
    `const stream = await navigator.mediaDevices.getUserMedia({ video: true });`,
    ...before,
    `const live = await model.live(stream, {`,
    `  resize: 'fit',`,
    `  longestSide: ${side},`,
    `  async onFrame(features) {`,
    ...body.map((line) => `    ${line}`),
    `  },`,
    `});`,
    `live.fps; // frames per second`,
    `// live.stop() ends it; the camera itself stays on`,
  ].join('\n');
}
