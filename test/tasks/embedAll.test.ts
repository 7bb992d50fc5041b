import { expect, test } from 'vitest';
import { DeviceError, ImageError } from '../../src/errors.ts';
import { embedInBatches, type Embedded, type EmbedSteps } from '../../src/tasks/embedAll.ts';

/** Steps that log their calls. Images are numbers; negative ones fail to decode. */
function recording(log: string[], held: Set<number> = new Set()): EmbedSteps<number, number> {
  return {
    prepare: async (image) => {
      log.push(`prepare ${image}`);
      await Promise.resolve();
      if (image < 0) throw new ImageError('IMAGE_DECODE', `no image: ${image}`);
      held.add(image);
      return image;
    },
    compute: async (prepared) => {
      log.push(`embed ${prepared.join(' ')}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
      log.push('embedded');
      return prepared.map((image) => ({ embedding: Float32Array.of(image * 10) }));
    },
    isStable: () => true,
    release: (image) => {
      expect(held.delete(image)).toBe(true);
    },
  };
}

async function collect(results: AsyncIterable<Embedded>): Promise<Embedded[]> {
  const all: Embedded[] = [];
  for await (const result of results) all.push(result);
  return all;
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

test('results keep the order, and a broken image does not affect the others', async () => {
  const held = new Set<number>();
  const found = await collect(embedInBatches([1, -2, 3, 4, -5], recording([], held), 2, undefined));
  expect(found.map(({ index }) => index)).toEqual([0, 1, 2, 3, 4]);
  expect(found.map(({ embedding }) => embedding?.[0])).toEqual([10, undefined, 30, 40, undefined]);
  expect(found.map(({ error }) => error?.code)).toEqual([
    undefined,
    'IMAGE_DECODE',
    undefined,
    undefined,
    'IMAGE_DECODE',
  ]);
  expect(held.size).toBe(0);
});

test('the next images are prepared while the current ones are embedded', async () => {
  const log: string[] = [];
  await collect(embedInBatches([1, 2, 3, 4], recording(log), 2, undefined));
  expect(log.indexOf('prepare 4')).toBeLessThan(log.indexOf('embedded'));
  expect(log.filter((line) => line.startsWith('embed '))).toEqual(['embed 1 2', 'embed 3 4']);
});

test('an asynchronous iterable and an empty one work', async () => {
  async function* numbers(): AsyncGenerator<number> {
    for (let i = 1; i <= 3; i++) yield i;
  }
  expect(
    (await collect(embedInBatches(numbers(), recording([]), 2, undefined))).map(
      ({ embedding }) => embedding?.[0],
    ),
  ).toEqual([10, 20, 30]);
  expect(await collect(embedInBatches([], recording([]), 2, undefined))).toEqual([]);
});

test('leaving the loop early frees all images and closes the iterable', async () => {
  const held = new Set<number>();
  let closed = false;
  function* numbers(): Generator<number> {
    try {
      for (let i = 1; ; i++) yield i;
    } finally {
      closed = true;
    }
  }
  for await (const { index } of embedInBatches(numbers(), recording([], held), 3, undefined))
    if (index === 4) break;
  await settled();
  expect(held.size).toBe(0);
  expect(closed).toBe(true);
});

test('an abort, a lost device and an error of the iterable are thrown, and all images are freed', async () => {
  const held = [new Set<number>(), new Set<number>(), new Set<number>()];
  const controller = new AbortController();
  const run = async (): Promise<void> => {
    for await (const { index } of embedInBatches(
      [1, 2, 3, 4, 5, 6],
      recording([], held[0]),
      2,
      controller.signal,
    ))
      if (index === 1) controller.abort(new Error('enough'));
  };
  await expect(run()).rejects.toThrow('enough');

  const lost = {
    ...recording([], held[1]),
    compute: async () => Promise.reject(new DeviceError('DEVICE_LOST', 'gone')),
  };
  await expect(collect(embedInBatches([1, 2, 3], lost, 2, undefined))).rejects.toMatchObject({
    code: 'DEVICE_LOST',
  });

  function* failing(): Generator<number> {
    yield 1;
    throw new Error('the disk is gone');
  }
  await expect(collect(embedInBatches(failing(), recording([], held[2]), 2, undefined))).rejects.toThrow(
    'the disk is gone',
  );
  await settled();
  expect(held.map(({ size }) => size)).toEqual([0, 0, 0]);
});

test('an abort does not wait for an iterable that hangs', async () => {
  const controller = new AbortController();
  async function* stuck(): AsyncGenerator<number> {
    yield 1;
    await new Promise(() => undefined);
  }
  setTimeout(() => controller.abort(new Error('enough')), 20);
  await expect(collect(embedInBatches(stuck(), recording([]), 1, controller.signal))).rejects.toThrow(
    'enough',
  );
});

test.each(['left', 'aborted'])("an error thrown by the iterable's return() is ignored: %s", async (how) => {
  const controller = new AbortController();
  let given = 0;
  const iterator: Iterator<number> = {
    next: () => ({ done: false, value: ++given }),
    return() {
      throw new Error('of the iterable');
    },
  };
  const images = { [Symbol.iterator]: () => iterator };
  const run = async (): Promise<string> => {
    for await (const { index } of embedInBatches(images, recording([]), 1, controller.signal)) {
      if (index < 2) continue;
      if (how === 'left') break;
      controller.abort(new Error('aborted'));
    }
    return 'left';
  };
  expect(await run().catch(({ message }: Error) => message)).toBe(how);
});
