/** Draws what a tab shows. Everything is in memory: nothing waits for the GPU. */
import type { PatchPosition } from '../../src/index.js';
import { byId, setText } from '../shared/dom.js';
import type { SidePatch, TabName } from './address.js';
import { select, type Compared, type Selection } from './compute.js';
import { frames, otherSide, sides } from './frame.js';
import { drawLines, type Line } from './lines.js';

export interface Wanted extends Selection {
  readonly tab: TabName;
  /** The patch at which the visitor points, or which is kept. */
  readonly patch: SidePatch | undefined;
  /** What the visitor should look for in these two pictures. */
  readonly about: string;
}

/** Draws a tab. The tab PCA needs `compared.colours`. */
export function draw(compared: Compared, wanted: Wanted): void {
  const { tab, patch, region } = wanted;
  for (const side of sides) {
    frames[side].setReady();
    frames[side].map.hidden = tab === 'matches';
  }
  frames.a.setRegion(tab === 'matches' ? region : undefined);
  if (tab === 'matches') drawMatches(compared, wanted);
  else {
    const found = patch && drawPointed(compared, patch);
    drawLines([], tab === 'pca' ? found?.line : undefined);
    if (tab === 'pca') drawColours(compared, found?.text);
    else if (patch) drawSimilarity(compared, patch, found!.text);
  }
}

/** Removes what `draw` has drawn, apart from the photographs. */
export function clearDrawing(): void {
  drawLines([]);
  for (const side of sides) {
    frames[side].map.hidden = true;
    frames[side].mark(undefined);
  }
  frames.a.setRegion(undefined);
  say(' ');
  showRange(undefined);
}

function drawMatches(compared: Compared, wanted: Wanted): void {
  const { matches, total } = select(compared, wanted);
  const found = wanted.patch && drawPointed(compared, wanted.patch);
  if (!found) for (const side of sides) frames[side].mark(undefined);
  drawLines(matches, found?.line);
  const [best, worst] = [matches[0], matches.at(-1)];
  const kind = wanted.mutual ? 'mutual matches' : 'nearest patches';
  say(
    found?.text ??
      (best && worst
        ? `${matches.length} of ${total} ${kind}, cosine ${decimal(worst.score)} to ${decimal(best.score)}. ${wanted.about}`.trim()
        : `None of the ${kind} has this score. Lower the score to see lines.`),
  );
  showRange(undefined);
}

/** Outlines a patch and the patch of the other picture that is nearest to it. */
function drawPointed({ nearest }: Compared, { side, row, col }: SidePatch): { line: Line; text: string } {
  const match = side === 'a' ? nearest.nearest(row, col) : nearest.nearestInA(row, col);
  const here: PatchPosition = { row, col };
  frames[side].mark(here);
  frames[otherSide(side)].mark(match);
  const there = otherSide(side).toUpperCase();
  return {
    line: side === 'a' ? { a: here, b: match } : { a: match, b: here },
    text: `${side.toUpperCase()}, ${nameOf(here)}: nearest in ${there} is ${nameOf(match)}, cosine ${decimal(match.score)}.`,
  };
}

function drawSimilarity(compared: Compared, { side, row, col }: SidePatch, text: string): void {
  const query = compared[side].similarity.vector({ row, col });
  const maps = { a: compared.a.similarity.map(query), b: compared.b.similarity.map(query) };
  const values = [...maps.a.values, ...maps.b.values];
  const range = [Math.min(...values), Math.max(...values)] as const;
  for (const each of sides) maps[each].draw(frames[each].map, { range });
  say(text);
  showRange(range);
}

function drawColours({ a, b, colours }: Compared, text: string | undefined): void {
  for (const side of sides) {
    const { map } = frames[side];
    map.width = colours![side].width;
    map.height = colours![side].height;
    map.getContext('2d')!.drawImage(colours![side], 0, 0);
    if (text === undefined) frames[side].mark(undefined);
  }
  const patches = a.features.rows * a.features.cols + b.features.rows * b.features.cols;
  say(text ?? `One basis for the ${patches} patches of both: the same colour means the same direction.`);
  showRange(undefined);
}

function say(text: string): void {
  if (byId('caption', HTMLElement).textContent !== text) setText('caption', text);
}

function showRange(range: readonly [number, number] | undefined): void {
  byId('legend', HTMLElement).hidden = !range;
  for (const [i, end] of ['low', 'high'].entries()) setText(`legend-${end}`, range ? decimal(range[i]!) : '');
}

/** Describes a patch. Rows and columns are counted from 1. */
const nameOf = ({ row, col }: PatchPosition): string => `row ${row + 1}, column ${col + 1}`;

export const decimal = (value: number): string => value.toFixed(2).replace('-', '\u2212');
