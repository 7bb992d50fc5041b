/** Returns example code that computes what the page shows. */
import { loadCall } from '../shared/loadCall.js';
import type { ModelChoice } from '../shared/modelChoice.js';
import type { Choices } from './page.js';

export function code(
  { tab, input, count, least, mutual, region, patch }: Choices,
  choice: ModelChoice,
): string {
  const { side = 'a', row = 0, col = 0 } = patch ?? {};
  const imported = { matches: 'correspondences', similarity: 'PatchSimilarity', pca: 'PCA' }[tab];
  const options = [
    mutual ? '' : 'mutual: false',
    `topK: ${count}`,
    least > 0 ? `threshold: ${least}` : '',
    region
      ? `region: { row: ${region.row}, col: ${region.col}, rows: ${region.rows}, cols: ${region.cols} }`
      : '',
  ].filter(Boolean);
  const body = {
    matches: [
      `const found = await correspondences(a, b, { ${options.join(', ')} });`,
      `for (const { a, b, score } of found.matches) drawLine(a.row, a.col, b.row, b.col, score);`,
      `found.nearest(${row}, ${col}); // the nearest patch of b, in memory`,
    ],
    similarity: [
      `const [ofA, ofB] = [await PatchSimilarity.read(a), await PatchSimilarity.read(b)];`,
      `const query = of${side.toUpperCase()}.vector({ row: ${row}, col: ${col} });`,
      `ofA.map(query).draw(canvasA);`,
      `ofB.map(query).draw(canvasB);`,
    ],
    pca: [
      `const pca = await PCA.fit([a, b]); // the same colours in both`,
      `await pca.draw(a, canvasA);`,
      `await pca.draw(b, canvasB);`,
    ],
  }[tab];
  return [
    `import { DINOv2, ${imported} } from 'dinov2-webgpu';`,
    ``,
    `const model = await ${loadCall(choice)};`,
    `const input = { resize: 'fit', longestSide: ${input}, orientation: 'respect' };`,
    `const a = await model.features(imageA, input); // a Blob, <img>, canvas, URL …`,
    `const b = await model.features(imageB, input);`,
    ...body,
    `a.dispose();`,
    `b.dispose();`,
  ].join('\n');
}
