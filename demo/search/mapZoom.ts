/** The zoom of the map: which part of it is shown. It is changed by wheel, fingers, keys and buttons. */

const MOST = 16;
/** A pointer that moves less than this many pixels while it is down makes a click, not a drag. */
const CLICK_PX = 6;

export class MapZoom {
  /** Magnification, from 1. */
  scale = 1;
  /** Position in the map, in pixels at scale 1, of the upper left corner of the element. */
  #left = 0;
  #top = 0;
  readonly #element: HTMLElement;
  readonly #onChange: () => void;
  readonly #pointers = new Map<number, { x: number; y: number }>();
  #moved = 0;

  constructor(element: HTMLElement, onChange: () => void) {
    this.#element = element;
    this.#onChange = onChange;
    element.addEventListener(
      'wheel',
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return; // otherwise the wheel scrolls the page
        event.preventDefault();
        this.by(Math.exp(-event.deltaY / 200), event.offsetX, event.offsetY);
      },
      { passive: false },
    );
    element.addEventListener('pointerdown', ({ pointerId, offsetX: x, offsetY: y }) => {
      this.#pointers.set(pointerId, { x, y });
      if (this.#pointers.size === 1) this.#moved = 0;
    });
    element.addEventListener('pointermove', (event) => this.#move(event));
    for (const type of ['pointerup', 'pointercancel', 'pointerleave'] as const)
      element.addEventListener(type, ({ pointerId }) => void this.#pointers.delete(pointerId));
  }

  /** True if the pointer has dragged the map since it was pressed, so that its release is no click. */
  get dragged(): boolean {
    return this.#moved > CLICK_PX;
  }

  /** Converts a position at scale 1 to a position in the element. */
  place(x: number, y: number): readonly [x: number, y: number] {
    return [(x - this.#left) * this.scale, (y - this.#top) * this.scale];
  }

  /** Zooms by a factor around a point of the element; by default around its middle. */
  by(
    factor: number,
    x: number = this.#element.clientWidth / 2,
    y: number = this.#element.clientHeight / 2,
  ): void {
    const scale = Math.min(MOST, Math.max(1, this.scale * factor));
    this.#left += x / this.scale - x / scale;
    this.#top += y / this.scale - y / scale;
    this.scale = scale;
    this.#keepInside();
  }

  /** Shows the whole map. */
  reset(): void {
    this.scale = 1;
    this.#keepInside();
  }

  /** Moves the map so that a position at scale 1 is in view. */
  show(x: number, y: number): void {
    const { clientWidth, clientHeight } = this.#element;
    const [left, top] = this.place(x, y);
    if (left < 0 || left > clientWidth) this.#left = x - clientWidth / 2 / this.scale;
    if (top < 0 || top > clientHeight) this.#top = y - clientHeight / 2 / this.scale;
    this.#keepInside();
  }

  #move({ pointerId, offsetX: x, offsetY: y }: PointerEvent): void {
    const before = this.#pointers.get(pointerId);
    if (!before) return;
    this.#pointers.set(pointerId, { x, y });
    this.#moved += Math.hypot(x - before.x, y - before.y);
    const [other] = [...this.#pointers].filter(([id]) => id !== pointerId).map(([, at]) => at);
    if (other) {
      const distance = (at: { x: number; y: number }): number => Math.hypot(at.x - other.x, at.y - other.y);
      this.by(distance({ x, y }) / Math.max(1, distance(before)), (x + other.x) / 2, (y + other.y) / 2);
    } else {
      this.#left -= (x - before.x) / this.scale;
      this.#top -= (y - before.y) / this.scale;
      this.#keepInside();
    }
  }

  #keepInside(): void {
    const { clientWidth, clientHeight } = this.#element;
    const within = (at: number, size: number): number => Math.max(0, Math.min(size - size / this.scale, at));
    this.#left = within(this.#left, clientWidth);
    this.#top = within(this.#top, clientHeight);
    this.#element.style.touchAction = this.scale > 1 ? 'none' : 'pan-y';
    this.#onChange();
  }
}
