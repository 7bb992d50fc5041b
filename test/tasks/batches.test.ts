// inBatches: parallel preparation of images, the division into batches, and the release of prepared images.
import { expect, test } from 'vitest';
import { DeviceError, ImageError } from '../../src/errors.ts';
import { inBatches, type BatchOptions, type BatchSteps } from '../../src/tasks/batches.ts';
import { full } from '../full.ts';
import { Random } from '../random.ts';

const pause = (ms = 0): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Steps of `inBatches` that count calls and held images. Images are numbers; negative ones fail to decode. */
class Course {
  preparing = 0;
  mostPreparing = 0;
  makes = 0;
  mostMakes = 0;
  held = 0;
  mostHeld = 0;
  discarded = 0;
  readonly sizes: number[] = [];
  steps(how: Partial<BatchSteps<number, number, number[]>> = {}): BatchSteps<number, number, number[]> {
    return {
      isStable: () => true,
      prepare: async (image) => {
        this.mostPreparing = Math.max(this.mostPreparing, ++this.preparing);
        await pause(Math.abs(image) % 3);
        this.preparing -= 1;
        if (image < 0) throw new ImageError('IMAGE_DECODE', `no image: ${image}`);
        this.mostHeld = Math.max(this.mostHeld, ++this.held);
        return image;
      },
      compute: async (prepared) => {
        this.sizes.push(prepared.length);
        this.mostMakes = Math.max(this.mostMakes, ++this.makes);
        await pause(2);
        this.makes -= 1;
        return [...prepared];
      },
      release: () => void (this.held -= 1),
      discard: () => void (this.discarded += 1),
      ...how,
    };
  }
}

async function collect(
  images: Iterable<number>,
  steps: BatchSteps<number, number, number[]>,
  options: BatchOptions,
): Promise<number[]> {
  const all: number[] = [];
  for await (const { items, results } of inBatches(images, steps, options)) {
    let used = 0;
    for (const { index, error } of items) {
      expect(index).toBe(all.length);
      all.push(error ? -1 : results[used++]!);
    }
    expect(used).toBe(results.length);
  }
  return all;
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

test('immutable images are prepared in parallel; one batch is computed while another is read back', async () => {
  const course = new Course();
  expect(await collect(upTo(40), course.steps(), { batchSize: 4, full: false })).toEqual(upTo(40));
  expect(course.mostPreparing).toBeGreaterThan(2);
  expect(course.mostMakes).toBe(2);
  expect(course.mostHeld).toBeLessThanOrEqual(8);
  expect(course.held).toBe(0);
});

test('an image that may change is prepared before the next one is requested from the iterable', async () => {
  const course = new Course();
  const log: string[] = [];
  function* filledAnew(): Generator<number> {
    for (const image of upTo(6)) {
      log.push(`ask ${image}`);
      yield image;
    }
  }
  const plain = course.steps();
  const steps = course.steps({
    isStable: () => false,
    prepare: async (image) => {
      const prepared = await plain.prepare(image);
      log.push(`prepared ${image}`);
      return prepared;
    },
  });
  expect(await collect(filledAnew(), steps, { batchSize: 4, full: false })).toEqual(upTo(6));
  expect(log).toEqual(upTo(6).flatMap((image) => [`ask ${image}`, `prepared ${image}`]));
  expect(course.mostPreparing).toBe(1);
});

test('with full: true batches wait until they are full; otherwise they use the available images, in few sizes', async () => {
  const full = new Course();
  await collect(upTo(20), full.steps(), { batchSize: 8, full: true });
  expect(full.sizes).toEqual([8, 8, 4]);
  const eager = new Course();
  await collect(upTo(200), eager.steps(), { batchSize: 8, full: false });
  expect(eager.sizes.every((size) => [1, 2, 4, 8].includes(size))).toBe(true);
  expect(eager.sizes.reduce((sum, size) => sum + size, 0)).toBe(200);
});

test('small batches still allow parallel decoding', async () => {
  const course = new Course();
  await collect(upTo(30), course.steps(), { batchSize: 1, full: false });
  expect(course.mostPreparing).toBeGreaterThan(3);
  expect(course.mostHeld).toBeLessThanOrEqual(8);
});

test('the iterable is read at most two batches ahead of the consumed results', async () => {
  let asked = 0;
  function* endless(): Generator<number> {
    for (;;) yield ++asked;
  }
  const course = new Course();
  let got = 0;
  for await (const { items } of inBatches(endless(), course.steps(), { batchSize: 8, full: true })) {
    got += items.length;
    await pause(20);
    expect(asked).toBeLessThanOrEqual(got + 16);
    if (got >= 32) break;
  }
  const then = asked;
  await pause(20);
  expect(asked).toBe(then);
  expect(course.held).toBe(0);
});

test('results that are not consumed are discarded', async () => {
  const course = new Course();
  for await (const _ of inBatches(upTo(40), course.steps(), { batchSize: 4, full: true })) break;
  await pause(20);
  expect([course.held, course.discarded]).toEqual([0, course.sizes.length - 1]);
  expect(course.discarded).toBeGreaterThan(0);
});

test('an error that is not an ImageError is thrown after the earlier results', async () => {
  const course = new Course();
  const plain = course.steps();
  const steps = course.steps({
    prepare: (image) =>
      image === 6 ? Promise.reject(new DeviceError('DEVICE_LOST', 'gone')) : plain.prepare(image),
  });
  const got: number[] = [];
  const run = async (): Promise<void> => {
    for await (const { results } of inBatches(upTo(12), steps, { batchSize: 2, full: true }))
      got.push(...results);
  };
  await expect(run()).rejects.toMatchObject({ code: 'DEVICE_LOST' });
  expect(got).toEqual(upTo(5));
  await pause(20);
  expect(course.held).toBe(0);
});

test('random lists with broken images: each image gives one result, in order, and all are freed', async () => {
  const random = new Random(11);
  for (let round = 0; round < (full ? 200 : 40); round++) {
    const images = Array.from(
      { length: random.integer(0, 30) },
      (_, i) => (i + 1) * (random.integer(0, 4) === 0 ? -1 : 1),
    );
    const course = new Course();
    const options = { batchSize: random.integer(1, 9), full: random.integer(0, 1) === 0 };
    const steps = course.steps({ isStable: () => random.integer(0, 2) > 0 });
    expect(await collect(images, steps, options)).toEqual(images.map((image) => Math.max(image, -1)));
    expect(course.held).toBe(0);
  }
});
