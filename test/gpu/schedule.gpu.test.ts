/**
 * Random schedules: models on one device are loaded, used in every way, aborted and disposed of at any moment, many
 * calls at a time. Each call gives the bits that it gives alone, the signal's reason, or DISPOSED. In the end every
 * promise has settled and nothing is left on the GPU.
 */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  correspondences,
  DeviceError,
  DINOv2,
  PatchSegmenter,
  PatchSimilarity,
  PatchTracker,
  PCA,
  type DINOv2Config,
  type Features,
  type RawImage,
} from '../../src/index.ts';
import { acquireGpu, type Gpu } from '../../src/gpu/device.ts';
import { full, long } from '../full.ts';
import { Random } from '../random.ts';
import { pixelsOf, requestDevice, settled, tiny } from './tiny.ts';

const SEEDS = long ? 20 : 1;
const OPERATIONS = long ? 10_000 : full ? 2000 : 100;
/** Calls under way at a time. */
const MOST_CALLS = 8;
/** Models at a time: each kind is one of these configurations. */
const kinds: readonly DINOv2Config[] = [tiny, { ...tiny, numRegisterTokens: 4, depth: 1 }];
const sizes = [
  [28, 28],
  [28, 42],
  [56, 56],
] as const;
/** Time in which a promise must settle after the last call, in ms. */
const SETTLED_MS = 5000;

let device: GPUDevice;
let gpu: Gpu;
const rejections: unknown[] = [];
const note = (reason: unknown): number => rejections.push(reason);
beforeAll(async () => {
  device = await requestDevice();
  gpu = await acquireGpu(device);
  process.on('unhandledRejection', note);
});
afterAll(() => {
  process.off('unhandledRejection', note);
  gpu.release();
  device.destroy();
});

/** The bits of a result, as text. */
function digest(...arrays: readonly ArrayBufferView[]): string {
  const hash = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of arrays)
    hash.update(new Uint8Array(buffer, byteOffset, byteLength));
  return hash.digest('hex').slice(0, 12);
}

/** A picture by formula. */
function picture(width: number, height: number): RawImage {
  const data = Uint8Array.from({ length: width * height * 4 }, (_, i) => (i * 37 + (i >> 5) * 11) % 256);
  return { data, width, height, channels: 4 };
}

interface Model {
  readonly kind: number;
  readonly model: DINOv2;
}

interface Kept {
  readonly kind: number;
  readonly size: number;
  readonly features: Features;
}

/** One run of a schedule. */
class Schedule {
  readonly #random: Random;
  readonly models: Model[] = [];
  readonly kept: Kept[] = [];
  readonly calls = new Set<Promise<void>>();
  readonly problems: string[] = [];
  readonly counts = new Map<string, number>();
  readonly #bits: Map<string, string>;

  constructor(seed: number, bits: Map<string, string>) {
    this.#random = new Random(seed);
    this.#bits = bits;
  }

  /** The bits of a call must be those of the first such call of all schedules. */
  #same(what: string, bits: string): void {
    const known = this.#bits.get(what);
    if (known === undefined) this.#bits.set(what, bits);
    else if (known !== bits) this.problems.push(`${what}: other bits`);
  }

  /** Starts a call, and aborts it sometimes. */
  #start(name: string, call: (signal: AbortSignal) => Promise<void>): void {
    const abort = new AbortController();
    const reason = new Error(`abort of ${name}`);
    if (this.#random.next() < 0.2) {
      const ms = this.#random.integer(-1, 12);
      if (ms < 0) abort.abort(reason);
      else setTimeout(() => abort.abort(reason), ms);
    }
    const running = call(abort.signal).then(
      () => this.#count(`${name}: done`),
      (error: unknown) => {
        if (error === reason) this.#count(`${name}: aborted`);
        else if (error instanceof DeviceError && error.code === 'DISPOSED') this.#count(`${name}: disposed`);
        else this.problems.push(`${name}: ${String(error)}`);
      },
    );
    this.calls.add(running);
    void running.then(() => this.calls.delete(running));
  }

  #count(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  /** Keeps features until a later operation disposes of them, or disposes of them at once. */
  #keep(kept: Kept): void {
    if (this.kept.length < 12 && this.#random.next() < 0.7) this.kept.push(kept);
    else kept.features.dispose();
  }

  load(): void {
    const kind = this.#random.integer(0, kinds.length - 1);
    this.#start('load', async (signal) => {
      const model = await DINOv2.synthetic(kinds[kind]!, { device, selfTest: false, signal });
      this.models.push({ kind, model });
    });
  }

  /** One random operation. */
  step(): void {
    const random = this.#random;
    const chance = random.next();
    if (this.models.length === 0 || (this.models.length < 3 && chance < 0.02)) return this.load();
    if (chance < 0.04) {
      const [{ model }] = this.models.splice(random.integer(0, this.models.length - 1), 1) as [Model];
      model.dispose();
      if (random.next() < 0.5) model.dispose();
      return this.#count('dispose of a model');
    }
    if (this.kept.length > 0 && chance < 0.16) {
      const { features } = this.kept.splice(random.integer(0, this.kept.length - 1), 1)[0]!;
      features.dispose();
      return this.#count('dispose of features');
    }
    if (this.kept.length > 0 && chance < 0.6) return this.#use(random.pick(this.kept));
    return this.#compute(random.pick(this.models));
  }

  /** A call of a model. */
  #compute({ kind, model }: Model): void {
    const random = this.#random;
    const size = random.integer(0, sizes.length - 1);
    const [height, width] = sizes[size]!;
    const what = `${kind} ${size}`;
    const raw = picture(width, height);
    const options = { resize: 'fit', longestSide: Math.max(height, width) } as const;
    const all = { layers: [1], attentions: [0] };
    switch (random.integer(0, 7)) {
      case 0:
      case 1:
        return this.#start('forward', async (signal) => {
          const features = await model.forward(
            pixelsOf(height, width),
            { height, width },
            { ...all, signal },
          );
          this.#keep({ kind, size, features });
        });
      case 2:
        return this.#start('features', async (signal) => {
          const features = await model.features(raw, { ...options, signal });
          try {
            this.#same(`features ${what}`, digest(await features.lastHiddenState()));
          } finally {
            features.dispose();
          }
        });
      case 3:
        return this.#start('embed', async (signal) => {
          const vectors = await model.embed([raw, picture(28, 28)], { ...options, signal });
          this.#same(`embed ${what}`, digest(...vectors));
        });
      case 4: {
        const end = random.integer(1, 6);
        return this.#start('embedAll', async (signal) => {
          const images = Array.from({ length: 5 }, () => raw);
          for await (const { index, embedding } of model.embedAll(images, {
            ...options,
            batchSize: 2,
            signal,
          })) {
            this.#same(`embedAll ${what}`, digest(embedding!));
            if (index + 1 === end) break;
          }
        });
      }
      case 5:
        return this.#start('featuresBySize', async (signal) => {
          const images = [raw, picture(28, 28), raw];
          for (const { features } of await model.featuresBySize(images, { ...options, signal }))
            features.dispose();
        });
      case 6:
        return this.#start('pixels', async (signal) => {
          const { data } = await model.pixels(raw, { ...options, signal });
          this.#same(`pixels ${size}`, digest(data));
        });
      default:
        return this.#start('describe, fingerprint', async () => {
          await model.describe({ height, width });
          this.#same(`fingerprint ${kind}`, await model.fingerprint());
        });
    }
  }

  /** A call that uses features, which another operation may dispose of meanwhile. */
  #use({ kind, size, features }: Kept): void {
    const random = this.#random;
    const what = `${kind} ${size}`;
    switch (random.integer(0, 9)) {
      case 0:
        return this.#start('read', async () =>
          this.#same(`forward ${what}`, digest(await features.lastHiddenState())),
        );
      case 1:
        return this.#start('attention', async (signal) => {
          const rows = await features.attention(0, { query: 'cls', signal });
          this.#same(`attention ${what}`, digest(rows));
        });
      case 2:
        return this.#start('hiddenState', async () => {
          const state = await features.hiddenState(1, { norm: true });
          this.#same(`hiddenState ${what}`, digest(state));
        });
      case 3:
      case 4:
        return this.#start('similarity', async (signal) => {
          const map = await features.similarity({ row: 1, col: 1 }, { signal });
          try {
            this.#same(`similarity ${what}`, digest((await map.read()).values));
          } finally {
            map.dispose();
          }
        });
      case 5:
        return this.#start('PCA', async (signal) => {
          const pca = await PCA.fit(features, { signal });
          this.#same(`PCA ${what}`, digest(await pca.rgb(features)));
        });
      case 6: {
        const other = this.kept.find((each) => each.kind === kind && each.features !== features);
        return this.#start('correspondences', async (signal) => {
          await correspondences(features, other?.features ?? features, { signal });
        });
      }
      case 7:
        return this.#start('PatchSimilarity', async () => {
          const similarity = await PatchSimilarity.read(features);
          this.#same(`PatchSimilarity ${what}`, digest(similarity.map({ row: 0, col: 1 }).values));
        });
      case 8:
        return this.#start('PatchSegmenter', async (signal) => {
          const segmenter = await PatchSegmenter.fit(features, {
            positive: [{ row: 0, col: 0 }],
            negative: [{ row: 1, col: 1 }],
            signal,
          });
          const map = await segmenter.map(features, { signal });
          try {
            this.#same(`segments ${what}`, digest((await map.read()).values));
          } finally {
            map.dispose();
          }
        });
      default:
        return this.#start('PatchTracker', async (signal) => {
          const mask = { row: 0, col: 0, rows: 1, cols: 2 };
          const tracker = await PatchTracker.start(features, { mask, signal });
          try {
            const map = await tracker.next(features, { signal });
            try {
              this.#same(`tracking ${what}`, digest((await map.read()).values));
            } finally {
              map.dispose();
            }
          } finally {
            tracker.dispose();
          }
        });
    }
  }

  /** Waits for a free place among the calls under way, and sometimes for all of them. */
  async wait(): Promise<void> {
    if (this.#random.next() < 0.02) await Promise.all(this.calls);
    while (this.calls.size >= MOST_CALLS) await Promise.race(this.calls);
  }

  /** Disposes of everything. */
  end(): void {
    for (const { model } of this.models) model.dispose();
    for (const { features } of this.kept) features.dispose();
  }
}

const bits = new Map<string, string>();
test.each(Array.from({ length: SEEDS }, (_, seed) => seed + 1))(
  `${OPERATIONS} operations, seed %i`,
  { timeout: 60_000 + OPERATIONS * 100 },
  async (seed) => {
    const schedule = new Schedule(seed, bits);
    for (let done = 0; done < OPERATIONS; done++) {
      schedule.step();
      await schedule.wait();
    }
    schedule.end(); // while calls are under way
    const late = setTimeout(() => schedule.problems.push('a promise is open'), SETTLED_MS);
    while (schedule.calls.size > 0 && !schedule.problems.includes('a promise is open'))
      await Promise.race([...schedule.calls, new Promise((resolve) => setTimeout(resolve, 100))]);
    clearTimeout(late);
    schedule.end(); // what the last calls made
    await settled();
    expect(schedule.problems).toEqual([]);
    expect(rejections).toEqual([]);
    await expect.poll(() => gpu.memory.buffers).toBe(0);
    expect(gpu.memory.bytes).toBe(0);
    console.log(Object.fromEntries([...schedule.counts].sort()));
    expect([...schedule.counts.keys()].filter((name) => name.endsWith(': done')).length).toBeGreaterThan(8);
  },
);
