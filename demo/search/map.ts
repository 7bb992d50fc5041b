/**
 * The map: all photographs on a plane, with similar photographs near each other. The page shows the name of
 * the photograph nearest to the pointer, and a click opens that photograph. The arrow keys move from one
 * photograph to the next.
 */
import type { EmbeddingIndex, MapPoint } from '../../src/search.js';
import { button } from '../shared/dom.js';
import { MapZoom } from './mapZoom.js';
import { nameOf } from './photos.js';
import { urlOf } from './pictures.js';
import { text } from './tiles.js';

/** Maximum number of thumbnails on the map. All further photographs are drawn as dots. */
const MOST_PICTURES = 600;
/** Maximum distance in pixels between the pointer and the photograph that it selects. */
const REACH_PX = 48;

interface Placed {
  readonly id: string;
  /** Horizontal position of the photograph in the unit square, 0 to 1. */
  readonly x: number;
  readonly y: number;
}

export class MapView {
  readonly #canvas = document.createElement('canvas');
  readonly #label = text('p', '', 'label');
  readonly #points: readonly Placed[];
  readonly #images = new Map<string, HTMLImageElement>();
  readonly #observer = new ResizeObserver(() => this.#draw());
  readonly #zoom: MapZoom;
  #at: Placed | undefined;
  #frame = 0;

  constructor(
    index: EmbeddingIndex,
    points: readonly MapPoint[],
    into: HTMLElement,
    onOpen: (id: string) => void,
  ) {
    this.#points = toSquare(points);
    const frame = document.createElement('div');
    frame.className = 'map';
    this.#canvas.tabIndex = 0;
    this.#canvas.setAttribute('role', 'application');
    this.#canvas.setAttribute('aria-roledescription', 'map');
    this.#label.hidden = true;
    this.#label.setAttribute('aria-hidden', 'true');
    this.#zoom = new MapZoom(this.#canvas, () => {
      this.#say();
      this.#drawSoon();
    });
    const buttons = document.createElement('div');
    buttons.className = 'map-zoom';
    for (const [sign, name, run] of [
      ['+', 'Zoom in', () => this.#zoom.by(1.6)],
      ['−', 'Zoom out', () => this.#zoom.by(1 / 1.6)],
      ['1:1', 'Show the whole map', () => this.#zoom.reset()],
    ] as const) {
      const made = button(sign, run);
      made.setAttribute('aria-label', name);
      made.title = name;
      buttons.append(made);
    }
    frame.append(this.#canvas, this.#label, buttons);
    const hint = text(
      'p',
      'Similar photographs are near each other. Open one to search with it. Zoom with the buttons or two fingers, drag to move. ',
      'hint',
    );
    hint.append(
      text('span', 'Or zoom with Ctrl and the wheel; by keyboard: arrow keys, Enter, +, − and 0.', 'fine'),
    );
    into.replaceChildren(frame, hint);
    this.#say();
    this.#observer.observe(this.#canvas);
    this.#canvas.addEventListener('pointermove', ({ offsetX, offsetY }) =>
      this.#go(this.#nearest(offsetX, offsetY)),
    );
    this.#canvas.addEventListener('pointerleave', () => this.#go(undefined));
    this.#canvas.addEventListener('blur', () => this.#go(undefined));
    this.#canvas.addEventListener('focus', () => {
      if (this.#canvas.matches(':focus-visible')) this.#go(this.#at ?? this.#points[0]);
    });
    this.#canvas.addEventListener('click', ({ offsetX, offsetY }) => {
      if (this.#zoom.dragged) return;
      const point = this.#nearest(offsetX, offsetY);
      if (point) onOpen(point.id);
    });
    this.#canvas.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && this.#at) onOpen(this.#at.id);
      else if (event.key.startsWith('Arrow')) this.#step(event.key);
      else if (event.key === '+' || event.key === '=') this.#zoom.by(1.6);
      else if (event.key === '-') this.#zoom.by(1 / 1.6);
      else if (event.key === '0') this.#zoom.reset();
      else return;
      event.preventDefault();
    });
    void this.#load(index);
  }

  dispose(): void {
    this.#observer.disconnect();
    cancelAnimationFrame(this.#frame);
  }

  async #load(index: EmbeddingIndex): Promise<void> {
    for (const { id } of this.#points.slice(0, MOST_PICTURES)) {
      if (!index.has(id)) continue;
      const url = await urlOf(id).catch(() => undefined);
      if (!url || !this.#canvas.isConnected) continue;
      const image = new Image();
      image.src = url;
      image.addEventListener('load', () => {
        this.#images.set(id, image);
        this.#drawSoon();
      });
    }
  }

  /** Position of a photograph at scale 1. */
  #position({ x, y }: Placed): readonly [x: number, y: number] {
    const { clientWidth, clientHeight } = this.#canvas;
    const margin = 52;
    // The buttons that zoom are at the right.
    return [margin + x * (clientWidth - 2 * margin - 60), margin + y * (clientHeight - 2 * margin)];
  }

  #place(point: Placed): readonly [x: number, y: number] {
    return this.#zoom.place(...this.#position(point));
  }

  #nearest(x: number, y: number): Placed | undefined {
    let [best, least]: [Placed | undefined, number] = [undefined, REACH_PX ** 2];
    for (const point of this.#points) {
      const [px, py] = this.#place(point);
      const distance = (px - x) ** 2 + (py - y) ** 2;
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  }

  /**
   * Moves to the nearest photograph in the direction of an arrow key. The component of a distance at a right
   * angle to this direction counts twice, so that photographs straight ahead are preferred.
   */
  #step(key: string): void {
    const from = this.#at;
    if (!from) return this.#go(this.#points[0]);
    const [dx, dy] = [
      key === 'ArrowRight' ? 1 : key === 'ArrowLeft' ? -1 : 0,
      key === 'ArrowDown' ? 1 : key === 'ArrowUp' ? -1 : 0,
    ];
    let [best, least]: [Placed | undefined, number] = [undefined, Infinity];
    for (const point of this.#points) {
      const ahead = (point.x - from.x) * dx + (point.y - from.y) * dy;
      const aside = Math.abs((point.x - from.x) * dy) + Math.abs((point.y - from.y) * dx);
      if (ahead > 0 && ahead + 2 * aside < least) [best, least] = [point, ahead + 2 * aside];
    }
    if (!best) return;
    this.#go(best);
    this.#zoom.show(...this.#position(best));
  }

  #go(point: Placed | undefined): void {
    if (point === this.#at) return;
    this.#at = point;
    this.#say();
    this.#drawSoon();
  }

  #say(): void {
    const at = this.#at;
    this.#canvas.setAttribute(
      'aria-label',
      at ? `Map, at ${nameOf(at.id)}` : `Map of ${this.#points.length} photographs`,
    );
    this.#label.hidden = !at;
    this.#canvas.style.cursor = at ? 'pointer' : '';
    if (!at) return;
    const [x, y] = this.#place(at);
    this.#label.textContent = nameOf(at.id);
    const { clientWidth, clientHeight } = this.#canvas;
    this.#label.style.left = `${Math.max(4, Math.min(x - 60, clientWidth - 204))}px`;
    this.#label.style.top = `${y + 104 > clientHeight ? Math.max(4, y - 104) : y + 74}px`;
  }

  #drawSoon(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw(): void {
    const { clientWidth, clientHeight } = this.#canvas;
    const ratio = devicePixelRatio;
    this.#canvas.width = Math.round(clientWidth * ratio);
    this.#canvas.height = Math.round(clientHeight * ratio);
    const context = this.#canvas.getContext('2d')!;
    context.scale(ratio, ratio);
    context.imageSmoothingQuality = 'high';
    const { color } = getComputedStyle(this.#canvas);
    const side = Math.min(
      160,
      this.#zoom.scale ** 0.7 *
        Math.min(96, Math.max(24, Math.sqrt((clientWidth * clientHeight) / (this.#points.length * 2.2)))),
    );
    for (const point of this.#points) if (point !== this.#at) this.#drawPoint(context, point, side, color);
    if (this.#at) this.#drawPoint(context, this.#at, Math.max(side, 56) * 1.4, color);
  }

  #drawPoint(context: CanvasRenderingContext2D, point: Placed, side: number, color: string): void {
    const [x, y] = this.#place(point);
    const image = this.#images.get(point.id);
    context.fillStyle = color;
    if (!image) {
      context.globalAlpha = 0.55;
      context.beginPath();
      context.arc(x, y, point === this.#at ? 7 : 3.5, 0, 7);
      context.fill();
      context.globalAlpha = 1;
      return;
    }
    const scale = side / Math.max(image.naturalWidth, image.naturalHeight);
    const [width, height] = [image.naturalWidth * scale, image.naturalHeight * scale];
    if (point === this.#at) context.fillRect(x - width / 2 - 2, y - height / 2 - 2, width + 4, height + 4);
    context.drawImage(image, x - width / 2, y - height / 2, width, height);
  }
}

/**
 * Scales the points of the map to the unit square, each axis separately. A single point is placed in the
 * middle.
 */
function toSquare(points: readonly MapPoint[]): Placed[] {
  const scaled = (values: readonly number[]): number[] => {
    const [least, most] = [
      values.reduce((a, b) => Math.min(a, b), Infinity),
      values.reduce((a, b) => Math.max(a, b), -Infinity),
    ];
    return values.map((value) => (most > least ? (value - least) / (most - least) : 0.5));
  };
  const [xs, ys] = [scaled(points.map(({ x }) => x)), scaled(points.map(({ y }) => -y))];
  return points.map(({ id }, i) => ({ id, x: xs[i]!, y: ys[i]! }));
}
