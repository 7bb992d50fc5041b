/** The lines between the two pictures: SVG in CSS pixels of the panel, so that they are crisp at any scale. */
import type { Correspondence, PatchPosition } from '../../src/index.js';
import { byId } from '../shared/dom.js';
import { frames } from './frame.js';

/** Two patches that a line connects. */
export interface Line {
  readonly a: PatchPosition;
  readonly b: PatchPosition;
}

const SVG = 'http://www.w3.org/2000/svg';
const panel = byId('panel', HTMLElement);
const lines = byId('lines', SVGSVGElement);

let matches: readonly Correspondence[] = [];
let strong: Line | undefined;

/**
 * Shows lines. `highlighted` is drawn above the others, which then are faint; it need not be one of them.
 */
export function drawLines(shown: readonly Correspondence[], highlighted?: Line): void {
  matches = shown;
  strong = highlighted;
  draw();
}

/** Returns the colour of a patch of picture A: the hue is its column, the lightness its row. */
export function colourOf({ row, col }: PatchPosition): string {
  const { rows, cols } = frames.a.grid;
  const hue = 20 + (300 * (col + 0.5)) / cols;
  const lightness = 0.86 - (0.28 * (row + 0.5)) / rows;
  return `oklch(${lightness.toFixed(3)} 0.17 ${hue.toFixed(1)})`;
}

function draw(): void {
  const { width, height, left, top } = panel.getBoundingClientRect();
  lines.setAttribute('viewBox', `0 0 ${width} ${height}`);
  lines.classList.toggle('faint', strong !== undefined);
  const pointIn = (side: 'a' | 'b', patch: PatchPosition): { x: number; y: number } => {
    const { x, y } = frames[side].centreOf(patch);
    return { x: x - left, y: y - top };
  };
  // The worst match is drawn first, so that better ones are above it.
  const drawn = matches.toReversed().map((match) => lineOf(match, 'line'));
  if (strong) drawn.push(lineOf(strong, 'line strong'));
  lines.replaceChildren(...drawn);

  function lineOf({ a, b }: Line, kind: string): SVGGElement {
    const [from, to] = [pointIn('a', a), pointIn('b', b)];
    const group = element('g', { class: kind });
    const ends = { x1: from.x, y1: from.y, x2: to.x, y2: to.y };
    // A dark line below the coloured one keeps it readable on bright pictures.
    group.append(element('line', { class: 'under', ...ends }), element('line', { class: 'over', ...ends }));
    for (const { x, y } of [from, to]) group.append(element('circle', { cx: x, cy: y, r: 4.5 }));
    group.style.setProperty('--colour', colourOf(a));
    group.dataset['a'] = `${a.row},${a.col}`;
    group.dataset['b'] = `${b.row},${b.col}`;
    return group;
  }
}

function element<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Readonly<Record<string, string | number>>,
): SVGElementTagNameMap[K] {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes))
    made.setAttribute(key, typeof value === 'number' ? value.toFixed(1) : value);
  return made;
}

const resized = new ResizeObserver(draw);
for (const each of [panel, frames.a.element, frames.b.element]) resized.observe(each);
