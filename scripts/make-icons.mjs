// Makes the icons of the installed web app from demo/favicon.svg, which consists of squares on a 16 × 16
// grid. Run this script after a change of demo/favicon.svg: node scripts/make-icons.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { PNG } from 'pngjs';

const demo = new URL('../demo/', import.meta.url);
const svg = readFileSync(new URL('favicon.svg', demo), 'utf8');
const squares = [...svg.matchAll(/<path fill="#(\w{6})" d="([^"]+)"/g)].flatMap(([, fill, path]) =>
  [...path.matchAll(/M(\d+) (\d+)h(\d+)v(\d+)/g)].map(([, ...numbers]) => ({
    fill: parseInt(fill, 16),
    at: numbers.map(Number),
  })),
);

for (const side of [192, 512]) {
  const image = new PNG({ width: side, height: side });
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const [col, row] = [(16 * x) / side, (16 * y) / side];
      const square = squares.findLast(
        ({ at: [left, top, width, height] }) =>
          col >= left && col < left + width && row >= top && row < top + height,
      );
      image.data.writeUInt32BE((((square?.fill ?? 0) << 8) | 255) >>> 0, (y * side + x) * 4);
    }
  }
  writeFileSync(new URL(`icon-${side}.png`, demo), PNG.sync.write(image, { deflateLevel: 9, colorType: 2 }));
}
