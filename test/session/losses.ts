/**
 * Page side of the tests of losses of the GPU: functions for `page.evaluate`, which run on a page of
 * `openWorkerSite` (/losing/). Their text is sent to the page, so they use no variable of this module.
 */
import type { Globals, WorkerModel } from '../worker/site.ts';

export const PHASES = ['load', 'compile', 'forward', 'read', 'tune', 'ingest', 'search'] as const;
export type Phase = (typeof PHASES)[number];
export type Side = 'page' | 'worker';
export type How = 'destroy' | 'crash';

export interface Case {
  readonly side: Side;
  readonly how: How;
  readonly phase: Phase;
  readonly delayMs: number;
}

export interface Outcome {
  /** Numbers of a call before the loss, and of all calls during and after the loss that differ from it. */
  readonly calls: number;
  readonly wrong: readonly unknown[];
  /** Codes of errors that the contract allows: of loads, and of reads of features on the lost device. */
  readonly allowed: readonly string[];
  readonly slowestMs: number;
  /**
   * Time from the loss until the browser gave another device to code that does nothing else. After a crash, the browser
   * starts its GPU process again.
   */
  readonly deviceMs: number;
}

/** A live video whose device is lost. Returns the number of frames delivered after the loss. */
export async function loseLive({
  side,
  how,
}: Pick<Case, 'side' | 'how'>): Promise<{ frames: number; failure: string; dropped: number }> {
  const { library, worker, crash } = globalThis as unknown as Globals & { crash: () => Promise<void> };
  const { DINOv2 } = (side === 'page' ? library : worker) as typeof library;
  const model = await DINOv2.fromPretrained('/weights/', {
    selfTest: false,
    ...(side === 'worker' && { workerUrl: '/losing.js' }),
  });
  const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
  let frames = 0;
  let failure = '';
  const live = await model.live(camera, { resize: 'square', size: 56, onFrame: () => void (frames += 1) });
  live.finished.catch((error: unknown) => (failure = String(error)));
  const until = async (count: number): Promise<void> => {
    for (let waits = 0; frames < count && failure === '' && waits < 1500; waits++)
      await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await until(5);
  if (how === 'crash') await crash();
  else if (side === 'worker') {
    const channel = new BroadcastChannel('losing');
    const done = new Promise((resolve) => (channel.onmessage = resolve));
    channel.postMessage('lose');
    await done;
    channel.close();
  } else for (const device of (globalThis as unknown as { devices: GPUDevice[] }).devices) device.destroy();
  const before = frames;
  await until(before + 5); // two frames may have been computed before the loss
  live.stop();
  await live.finished.catch(() => undefined);
  for (const track of camera.getTracks()) track.stop();
  const dropped = live.framesDropped;
  model.dispose();
  return { frames: frames - before, failure, dropped };
}

/** Calls again and again while the devices are lost. Each call must give the numbers of the first. */
export async function lose({ side, how, phase, delayMs }: Case): Promise<Outcome> {
  interface TestGlobals extends Globals {
    /** Crashes the GPU process. Only where a case has this kind of loss. */
    readonly crash: () => Promise<void>;
    readonly search: typeof import('../../src/search.ts');
  }
  const { library, worker, search, crash } = globalThis as unknown as TestGlobals;
  const { DINOv2 } = (side === 'page' ? library : worker) as typeof worker;
  const load = (): Promise<WorkerModel> =>
    DINOv2.fromPretrained('/weights/', {
      selfTest: false,
      ...(side === 'worker' && { workerUrl: '/losing.js' }),
    });
  const files = await Promise.all(
    ['astronaut.png', 'coffee.png', 'rocket.jpg'].map(
      async (name) => new File([await (await fetch(`/photos/${name}`)).blob()], name),
    ),
  );
  const how56 = { resize: 'square', size: 56 } as const;
  const allowed: string[] = [];
  const code = (error: unknown): string => (error as { code?: string }).code ?? String(error);
  const model = phase === 'search' ? undefined : await load();
  const index = new search.EmbeddingIndex({ dim: 27 });
  if (phase === 'search') {
    let state = 1;
    const next = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647 - 0.5;
    await index.addMany(
      Array.from({ length: 21_000 }, (_, row) => ({
        id: `${row}`,
        vector: Float32Array.from({ length: 27 }, next),
      })),
    );
  }
  /** Computes features and reads them. A page does this again if the features were lost before the read. */
  const reads = async <Result>(
    options: object,
    read: (features: Awaited<ReturnType<WorkerModel['features']>>) => Promise<Result>,
  ): Promise<Result> => {
    for (;;) {
      const features = await model!.features(files[0]!, { ...how56, ...options });
      try {
        return await read(features);
      } catch (error) {
        if (code(error) !== 'DEVICE_LOST') throw error;
        allowed.push(code(error));
      } finally {
        features.dispose();
      }
    }
  };
  const calls: Record<Phase, () => Promise<unknown>> = {
    async load() {
      for (;;) {
        try {
          const another = await load();
          const vector = await another.embed(files[0]!, how56);
          another.dispose();
          return Array.from(vector);
        } catch (error) {
          if (code(error) !== 'DEVICE_LOST') throw error;
          allowed.push(code(error));
        }
      }
    },
    compile: () =>
      reads({ layers: [0], attentions: [0] }, async (features) => [
        Array.from(await features.hiddenState(0, { norm: true })),
        Array.from(await features.attention(0, { head: 0, query: 'cls' })),
      ]),
    forward: async () => (await model!.embed(files, how56)).map((vector) => Array.from(vector)),
    read: () => reads({}, async (features) => Array.from(await features.lastHiddenState())),
    async tune() {
      await model!.tune({ sizesPx: [28], store: false });
      return Array.from(await model!.embed(files[1]!, how56));
    },
    async ingest() {
      const made = new search.EmbeddingIndex({ dim: model!.config.embedDim, device: 'cpu' });
      const report = await search.ingest(made, model! as never, files, {
        thumbnailPx: 0,
        batchSize: 1,
        ...how56,
      }).finished;
      const vectors = files.map(({ name }) => Array.from(made.vector(name) ?? []));
      made.dispose();
      return [report.added, report.failed, vectors];
    },
    search: async () => (await index.search(index.vector('7')!)).map(({ id, score }) => [id, score]),
  };
  const call = calls[phase];
  const right = JSON.stringify(await call());
  const wrong: unknown[] = [];
  let count = 0;
  let slowestMs = 0;
  let lostAt = Infinity;
  let deviceMs = 0;
  /** Asks for a device until the browser gives one. */
  const untilDevice = async (): Promise<void> => {
    const sinceMs = performance.now();
    for (let device: GPUDevice | undefined; !device;) {
      const adapter = await navigator.gpu.requestAdapter();
      device = await adapter?.requestDevice().catch(() => undefined);
      device?.destroy();
    }
    deviceMs = performance.now() - sinceMs;
  };
  const losing = (async () => {
    await new Promise((resolve) => setTimeout(resolve, delayMs));
    if (how === 'crash') await crash();
    else if (side === 'worker') {
      const channel = new BroadcastChannel('losing');
      const done = new Promise((resolve) => (channel.onmessage = resolve));
      channel.postMessage('lose');
      await done;
      channel.close();
    } else for (const device of (globalThis as unknown as { devices: GPUDevice[] }).devices) device.destroy();
    await untilDevice();
    await new Promise((resolve) => setTimeout(resolve, 100));
    lostAt = count;
  })();
  for (; count < lostAt + 2; count++) {
    const startMs = performance.now();
    const found = await Promise.race([
      call().then(
        (result) => JSON.stringify(result),
        (error: unknown) => `${code(error)}: ${(error as Error).message}`,
      ),
      new Promise<string>((resolve) => setTimeout(resolve, 30_000, 'open after 30 s')),
    ]);
    slowestMs = Math.max(slowestMs, performance.now() - startMs);
    if (found !== right) wrong.push(found.slice(0, 300));
    if (wrong.length > 3) break;
  }
  await losing;
  model?.dispose();
  index.dispose();
  return { calls: count, wrong, allowed, slowestMs, deviceMs };
}
