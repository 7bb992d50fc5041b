// The division of a resize into strips: each pixel of `between` is computed exactly once, from a strip that
// contains all rows that the pixel reads.
import { expect, it } from 'vitest';
import { resizeTaps, RESAMPLES } from '../../src/image/coefficients.js';
import { planStrips } from '../../src/image/strips.js';
import { Random } from '../random.js';

it('3,000 random plans cover each pixel once, include the rows that its taps read, and respect the size limit', () => {
  const random = new Random(14);
  for (let i = 0; i < 3000; i++) {
    const [along, across] = [random.integer(1, 400), random.integer(1, 300)];
    const width = random.integer(1, 40);
    const resized = random.integer(width, 60);
    // A crop larger than the resized image has taps of -1 at its ends.
    const first = random.integer(-Math.min(5, width - 1), Math.max(0, resized - width));
    const taps = resizeTaps(along, resized, first, width, random.pick(RESAMPLES));
    const down = random.pick([true, false]);
    const flipped = random.pick([true, false]);
    const rows = random.integer(1, across);
    const firstRow = random.integer(0, across - rows);
    const mostRows = random.integer(1, 80);
    const storedRows = down ? along : across;
    const strips = planStrips({ storedRows, down, flipped, taps, width, firstRow, rows, mostRows });
    const seen = new Uint8Array(rows * width);
    for (const { begin, end, x0, x1, y0, y1 } of strips) {
      expect(begin).toBeGreaterThanOrEqual(0);
      expect(end).toBeGreaterThan(begin);
      expect(end).toBeLessThanOrEqual(storedRows);
      expect(end - begin).toBeLessThanOrEqual(down ? Math.max(mostRows, taps.count) : mostRows);
      for (let y = y0; y < y1; y++) {
        for (let x = x0; x < x1; x++) {
          seen[y * width + x]! += 1;
          const at = x * (taps.count + 1);
          if (taps.table[at]! < 0) continue;
          for (let tap = 0; tap < taps.count; tap++) {
            if (taps.table[at + 1 + tap] === 0) continue;
            const upright = down ? taps.table[at]! + tap : firstRow + y;
            const stored = flipped ? storedRows - 1 - upright : upright;
            if (stored < begin || stored >= end)
              throw new Error(`plan ${i}: row ${stored} of [${begin}, ${end})`);
          }
        }
      }
    }
    expect(seen.every((count) => count === 1)).toBe(true);
  }
});
