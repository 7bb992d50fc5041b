/**
 * The built-in example: a film made of the sample photographs, drawn on a canvas, as a stream. It needs no
 * camera and no permission.
 */
import astronaut from '../photos/astronaut.png';
import chelsea from '../photos/chelsea.png';
import coffee from '../photos/coffee.png';
import rocket from '../photos/rocket.jpg';

const WIDTH = 640;
const HEIGHT = 480;
const FPS = 30;
/** Time in seconds for which a photograph is shown, and of the fade to the next one. */
const SHOWN_S = 9;
const FADE_S = 1;
/** On a slow adapter the film waits, so that both pictures show nearly the same frame. */
const AHEAD_S = 0.25;
/** Time in ms between two frames while the film waits. */
const WAITING_MS = 250;

interface Shot {
  readonly url: string;
  /** Middle of the view at the beginning and at the end, in shares of the photograph, and the zoom. */
  readonly from: readonly [x: number, y: number, zoom: number];
  readonly to: readonly [x: number, y: number, zoom: number];
}

const shots: readonly Shot[] = [
  { url: chelsea, from: [0.4, 0.5, 1.05], to: [0.55, 0.45, 1.7] },
  { url: coffee, from: [0.7, 0.5, 1.5], to: [0.3, 0.55, 1.15] },
  { url: astronaut, from: [0.45, 0.75, 1.25], to: [0.5, 0.3, 1.5] },
  { url: rocket, from: [0.5, 0.75, 1.6], to: [0.5, 0.35, 1.1] },
];

export interface Example {
  readonly stream: MediaStream;
  /** Lets the film run, or holds it. At first it is held. */
  run(runs: boolean): void;
  /** The features of a frame are shown. The film goes on only for a short time without a call of this. */
  shown(): void;
}

/** Loads the photographs and draws the first frame. */
export async function openExample(): Promise<Example> {
  const images = await Promise.all(
    shots.map(async ({ url }) => {
      const image = new Image();
      image.src = url;
      await image.decode();
      return image;
    }),
  );
  const canvas = document.createElement('canvas');
  canvas.width = WIDTH;
  canvas.height = HEIGHT;
  const context = canvas.getContext('2d')!;
  const stream = canvas.captureStream(FPS);
  let seconds = 0;
  let ahead = 0;
  let lastMs: number | undefined;
  let request = 0;

  const draw = (): void => {
    const index = Math.floor(seconds / SHOWN_S) % shots.length;
    const within = seconds % SHOWN_S;
    drawShot(context, images[index]!, shots[index]!, within / SHOWN_S, 1);
    const fade = (within - (SHOWN_S - FADE_S)) / FADE_S;
    const next = (index + 1) % shots.length;
    if (fade > 0) drawShot(context, images[next]!, shots[next]!, 0, fade);
  };
  const step = (nowMs: number): void => {
    request = requestAnimationFrame(step);
    lastMs ??= nowMs;
    if (nowMs - lastMs < (ahead > 0 ? 1000 / FPS - 4 : WAITING_MS)) return;
    const more = Math.min(ahead, (nowMs - lastMs) / 1000);
    seconds += more;
    ahead -= more;
    lastMs = nowMs;
    draw();
  };
  draw();
  return {
    stream,
    run(runs) {
      cancelAnimationFrame(request);
      lastMs = undefined;
      if (runs) request = requestAnimationFrame(step);
    },
    shown() {
      ahead = AHEAD_S;
    },
  };
}

/** Draws a part of a photograph on the whole canvas. `time`: 0 at the beginning of the shot, 1 at its end. */
function drawShot(
  context: CanvasRenderingContext2D,
  image: HTMLImageElement,
  { from, to }: Shot,
  time: number,
  alpha: number,
): void {
  const eased = time * time * (3 - 2 * time);
  const [x, y, zoom] = from.map((value, i) => value + (to[i]! - value) * eased) as [number, number, number];
  const { naturalWidth, naturalHeight } = image;
  const scale = Math.min(naturalWidth / WIDTH, naturalHeight / HEIGHT) / zoom;
  const [width, height] = [WIDTH * scale, HEIGHT * scale];
  const left = Math.min(naturalWidth - width, Math.max(0, x * naturalWidth - width / 2));
  const top = Math.min(naturalHeight - height, Math.max(0, y * naturalHeight - height / 2));
  context.globalAlpha = alpha;
  context.drawImage(image, left, top, width, height, 0, 0, WIDTH, HEIGHT);
}
