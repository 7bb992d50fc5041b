// Live video in Chromium: a fake camera, a <video>, a stream of frames, a worker, and a lost device.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { DINOv2, type Features, type LiveFrame, type LiveSource, type LiveVideo } from '../../src/index.ts';
import { DINOv2 as WorkerDINOv2 } from '../../src/worker.ts';
import { config, drawer, options, trapCopies } from './liveBrowser.ts';
import type { ThreadReport } from './liveThread.ts';

let model: DINOv2;
let camera: MediaStream;
const unhandled: unknown[] = [];
const note = ({ reason }: PromiseRejectionEvent): void => void unhandled.push(reason);
beforeAll(async () => {
  addEventListener('unhandledrejection', note);
  model = await DINOv2.synthetic(config, { selfTest: false });
  camera = await navigator.mediaDevices.getUserMedia({
    video: { width: 320, height: 240, frameRate: 20 },
    audio: false,
  });
});
afterEach(() => expect(unhandled).toEqual([]));
afterAll(() => {
  removeEventListener('unhandledrejection', note);
  model.dispose();
  for (const track of camera.getTracks()) track.stop();
});

/** Runs a live video until `frames` frames were delivered, then stops it. */
async function runFor(
  frames: number,
  source: LiveSource,
  onFrame: (features: Features, info: LiveFrame) => unknown = () => undefined,
  started: () => void = () => undefined,
): Promise<LiveVideo> {
  let delivered = 0;
  const live = await model.live(source, {
    ...options,
    onFrame: async (features, info) => {
      await onFrame(features, info);
      if (++delivered === frames) live.stop();
    },
  });
  started();
  await live.finished;
  expect(delivered).toBe(frames);
  return live;
}

async function playing(): Promise<HTMLVideoElement> {
  const video = document.createElement('video');
  video.srcObject = camera;
  video.muted = true;
  await video.play();
  return video;
}

/** A stream of frames of a canvas whose colour changes. */
function coloured(made: VideoFrame[], count: number): ReadableStream<VideoFrame> {
  const canvas = new OffscreenCanvas(64, 48);
  const context = canvas.getContext('2d')!;
  return new ReadableStream({
    pull: async (controller) => {
      if (made.length === count) return controller.close();
      await new Promise((resolve) => setTimeout(resolve, 20));
      context.fillStyle = `hsl(${made.length * 40} 80% 50%)`;
      context.fillRect(0, 0, 64, 48);
      const frame = new VideoFrame(canvas, { timestamp: made.length * 20_000 });
      made.push(frame);
      controller.enqueue(frame);
    },
  });
}
const isClosed = ({ format }: VideoFrame): boolean => format === null;

const sources: Record<string, () => LiveSource | Promise<LiveSource>> = {
  'a camera': () => camera,
  'a track': () => camera.getVideoTracks()[0]!,
  'a <video>': playing,
  'a stream of frames': () => coloured([], 100),
};

test.each(Object.keys(sources))('%s to a WebGPU canvas: nothing is copied to the CPU', async (kind) => {
  const source = await sources[kind]!();
  const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
  const draw = drawer(model.device, canvas);
  const held = model.gpuBytes;
  let traps: ReturnType<typeof trapCopies> | undefined;
  const timesMs: number[] = [];
  let fps = 0;
  // The traps are set before the first frame: starting compares test frames, once for each device.
  const live = await runFor(
    8,
    source,
    (features, { timestampMs }) => {
      draw(features);
      timesMs.push(timestampMs);
    },
    () => void (traps = trapCopies()),
  ).finally(() => traps?.restore());
  fps = live.fps;
  expect(traps?.calls).toEqual([]);
  expect(fps).toBeGreaterThan(0);
  expect(live.framesIn).toBeGreaterThanOrEqual(8);
  expect(timesMs).toEqual([...new Set(timesMs)].sort((a, b) => a - b));
  expect(model.gpuBytes).toBeLessThanOrEqual(held + 5e5); // activations stay; features and frames do not
  expect(camera.getVideoTracks()[0]!.readyState).toBe('live');
  // The canvas has the colours of the features: more than one, because the picture is not uniform.
  const copy = new OffscreenCanvas(40, 30).getContext('2d')!;
  copy.drawImage(canvas, 0, 0);
  const pixels = new Set(new Uint32Array(copy.getImageData(0, 0, 40, 30).data.buffer));
  expect(pixels.size).toBeGreaterThan(kind === 'a stream of frames' ? 0 : 1);
});

test.each(Object.keys(sources))('%s: the features are those of features(frame)', async (kind) => {
  const seen: unknown[] = [];
  await runFor(3, await sources[kind]!(), async (features, { frame }) => {
    expect(frame).toBeInstanceOf(VideoFrame);
    const again = await model.features(frame, options);
    const [first, second] = [await features.lastHiddenState(), await again.lastHiddenState()];
    again.dispose();
    expect(first).toEqual(second);
    seen.push(first[128]);
  });
  expect(new Set(seen).size).toBeGreaterThan(1); // the picture moves
});

test('a stream: all its frames are closed, and `finished` resolves after the last one', async () => {
  const made: VideoFrame[] = [];
  const times: number[] = [];
  const live = await model.live(coloured(made, 12), {
    ...options,
    onFrame: (_, { timestampMs }) => times.push(timestampMs),
  });
  await live.finished;
  expect(live.framesIn).toBe(12);
  expect(times.length + live.framesDropped).toBe(12);
  expect(times.at(-1)).toBe(11 * 20);
  expect(made.every(isClosed)).toBe(true);
});

test('two live videos on one model get the same share', async () => {
  const counts = [0, 0];
  const lives = await Promise.all(
    counts.map((_, i) =>
      model.live(camera, {
        ...options,
        onFrame: () => void (counts[i]! += 1),
      }),
    ),
  );
  while (Math.max(...counts) < 12) await new Promise((resolve) => setTimeout(resolve, 10));
  for (const live of lives) live.stop();
  await Promise.all(lives.map(({ finished }) => finished));
  expect(Math.min(...counts)).toBeGreaterThanOrEqual(6);
});

test('features that onFrame keeps stay usable', async () => {
  const kept: Features[] = [];
  await runFor(2, camera, (features, { keep }) => {
    keep();
    kept.push(features);
  });
  for (const each of kept) expect(await each.clsToken()).toHaveLength(config.embedDim);
  for (const each of kept) each.dispose();
});

describe('ends with an error, and no frame stays open', () => {
  const endings: Record<string, { readonly code: string; end(own: DINOv2): void }> = {
    'the device is lost': { code: 'DEVICE_LOST', end: (own) => own.device.destroy() },
    'the model is disposed of': { code: 'DISPOSED', end: (own) => own.dispose() },
  };
  test.each(Object.keys(endings))('%s', async (name) => {
    const { code, end } = endings[name]!;
    const adapter = await navigator.gpu.requestAdapter();
    const requiredFeatures = (['subgroups'] as const).filter((each) => adapter!.features.has(each));
    const device = await adapter!.requestDevice({ requiredFeatures });
    const own = await DINOv2.synthetic(config, { selfTest: false, device });
    const made: VideoFrame[] = [];
    let delivered = 0;
    const live = await own.live(coloured(made, 1000), {
      ...options,
      onFrame: () => void (++delivered === 3 && end(own)),
    });
    await expect(live.finished).rejects.toMatchObject({ code });
    await new Promise((resolve) => setTimeout(resolve, 50));
    const { framesIn } = live;
    expect(made.slice(0, framesIn).every(isClosed)).toBe(true);
    own.dispose();
    device.destroy();
  });

  test('an option that features() refuses', async () => {
    const live = await model.live(camera, { ...options, layers: [99], onFrame: () => undefined });
    await expect(live.finished).rejects.toMatchObject({ code: 'OPTION_VALUE' });
    await expect(model.live(camera, { onframe: () => undefined } as never)).rejects.toMatchObject({
      code: 'OPTION_NAME',
    });
  });
});

test('in a worker of the page: a transferred stream is drawn on an OffscreenCanvas', async () => {
  const worker = new Worker(new URL('./liveThread.ts', import.meta.url), { type: 'module' });
  const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
  const offscreen = canvas.transferControlToOffscreen();
  const Processor = (
    globalThis as unknown as {
      MediaStreamTrackProcessor: new (init: object) => { readable: ReadableStream<VideoFrame> };
    }
  ).MediaStreamTrackProcessor;
  const stream = new Processor({ track: camera.getVideoTracks()[0]! }).readable;
  const report = await new Promise<ThreadReport>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<ThreadReport>) => resolve(data);
    worker.onerror = ({ message }) => reject(new Error(message));
    worker.postMessage({ stream, canvas: offscreen, frames: 6 }, [stream, offscreen]);
  });
  worker.terminate();
  expect(report).toEqual({ delivered: 6, fps: expect.any(Number) as number, calls: [] });
  expect(report.fps).toBeGreaterThan(0);
});

describe("with the entry 'dinov2-webgpu/worker'", () => {
  let inWorker: WorkerDINOv2;
  beforeAll(async () => void (inWorker = await WorkerDINOv2.synthetic(config, { selfTest: false })));
  afterAll(() => inWorker.dispose());

  test.each(['a camera', 'a <video>'])(
    '%s: features in the worker, with the bits of the page',
    async (kind) => {
      const traps = trapCopies();
      let delivered = 0;
      const live = await inWorker.live(await sources[kind]!(), {
        ...options,
        onFrame: async (features, { frame }) => {
          const inPage = await model.features(frame, options);
          expect(await features.lastHiddenState()).toEqual(await inPage.lastHiddenState());
          inPage.dispose();
          if (++delivered === 4) live.stop();
        },
      });
      await live.finished.finally(() => traps.restore());
      expect(delivered).toBe(4);
      expect(live.fps).toBeGreaterThan(0);
      expect(traps.calls.filter((name) => name !== 'GPUBuffer.mapAsync')).toEqual([]);
    },
  );

  test('a stream: frames are closed, and the end and wrong options are reported', async () => {
    const made: VideoFrame[] = [];
    const live = await inWorker.live(coloured(made, 6), { ...options, onFrame: () => undefined });
    await live.finished;
    expect(made.every(isClosed)).toBe(true);
    await expect(inWorker.live(camera, { onframe: () => undefined } as never)).rejects.toMatchObject({
      code: 'OPTION_NAME',
    });
  });

  test('an abort, and a model that is disposed of', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const aborted = await inWorker.live(camera, {
      ...options,
      signal: controller.signal,
      onFrame: () => controller.abort(reason),
    });
    await expect(aborted.finished).rejects.toBe(reason);
    const other = await WorkerDINOv2.synthetic(config, { selfTest: false });
    const live = await other.live(camera, { ...options, onFrame: () => other.dispose() });
    await expect(live.finished).rejects.toMatchObject({ code: 'DISPOSED' });
  });
});
