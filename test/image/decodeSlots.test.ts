// DecodeSlots: the limit on simultaneous image decodes, and the order in which they start.
import { expect, test } from 'vitest';
import { DecodeSlots, type DecodeSlot } from '../../src/image/decodeSlots.ts';
import { Random } from '../random.ts';

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));
const KIB = 1024;

test('slots are granted in the order of the requests, and never more than the limit', async () => {
  const slots = new DecodeSlots(2, KIB);
  const order: number[] = [];
  const taken: DecodeSlot[] = [];
  for (let i = 0; i < 5; i++)
    void slots.take().then((slot) => {
      order.push(i);
      taken.push(slot);
    });
  await turn();
  expect([order, slots.running]).toEqual([[0, 1], 2]);
  for (let i = 0; i < 5; i++) {
    await turn();
    taken[i]!.release();
    taken[i]!.release(); // a second call has no effect
  }
  await turn();
  expect([order, slots.running]).toEqual([[0, 1, 2, 3, 4], 0]);
});

test('images wait for memory in the order of their requests; an image larger than the limit runs alone', async () => {
  const slots = new DecodeSlots(8, KIB);
  const order: string[] = [];
  const open = async (name: string, width: number): Promise<DecodeSlot> => {
    const slot = await slots.take();
    void slot.claim(4 * width).then(() => order.push(name));
    return slot;
  };
  const first = await open('half', 128);
  const large = await open('too large', 1000);
  const small = await open('small', 1);
  await turn();
  expect([order, slots.bytes]).toEqual([['half'], 512]);
  first.release();
  await turn();
  expect([order, slots.bytes]).toEqual([['half', 'too large'], 4000]);
  large.release();
  await turn();
  expect([order, slots.bytes]).toEqual([['half', 'too large', 'small'], 4]);
  small.release();
  expect([slots.bytes, slots.running]).toEqual([0, 0]);
});

test('takeNow gives a slot only if one is free and no request is waiting', async () => {
  const slots = new DecodeSlots(2, KIB);
  const first = slots.takeNow(512)!;
  expect([slots.running, slots.bytes]).toEqual([1, 512]);
  expect(slots.takeNow(513)).toBeUndefined();
  const second = slots.takeNow(512)!;
  expect(slots.takeNow(0)).toBeUndefined();
  second.release();
  const waiting = await slots.take();
  const claiming = waiting.claim(1024);
  first.release();
  first.release();
  await claiming;
  waiting.release();
  expect([slots.bytes, slots.running]).toEqual([0, 0]);
  const large = slots.takeNow(5000)!; // more than the limit: allowed because nothing else is running
  const behind = large && (await slots.take());
  const pending = behind.claim(1);
  expect(slots.takeNow(0)).toBeUndefined();
  large.release();
  await pending;
  behind.release();
  expect([slots.bytes, slots.running]).toEqual([0, 0]);
});

test('an abort ends a wait for a slot or for memory, and the next requests proceed', async () => {
  const slots = new DecodeSlots(2, KIB);
  const held = await slots.take();
  await held.claim(1024);
  const controller = new AbortController();
  const { signal } = controller;
  const second = await slots.take();
  const claiming = second.claim(4, signal);
  const taking = slots.take(signal);
  const behind = slots.take();
  controller.abort(new Error('enough'));
  await expect(claiming).rejects.toThrow('enough');
  await expect(taking).rejects.toThrow('enough');
  await expect(slots.take(signal)).rejects.toThrow('enough');
  (await behind).release();
  held.release();
  expect([slots.bytes, slots.running]).toEqual([0, 0]);
});

test('200 random images, some aborted: the limit is never exceeded, and every request ends', async () => {
  const random = new Random(3);
  const slots = new DecodeSlots(3, 100 * KIB);
  let most = 0;
  let done = 0;
  await Promise.all(
    Array.from({ length: 200 }, async () => {
      const controller = new AbortController();
      if (random.integer(0, 4) === 0) setTimeout(() => controller.abort(), random.integer(0, 40));
      try {
        const slot = await slots.take(controller.signal);
        const width = random.integer(1, 30_000);
        await slot.claim(4 * width, controller.signal);
        if (slots.bytes !== width * 4) most = Math.max(most, slots.bytes);
        expect(slots.running).toBeLessThanOrEqual(3);
        await new Promise((resolve) => setTimeout(resolve, random.integer(0, 2)));
        slot.release();
      } catch (error) {
        if (!controller.signal.aborted) throw error;
      }
      done += 1;
    }),
  );
  expect(most).toBeGreaterThan(50 * KIB);
  expect(most).toBeLessThanOrEqual(100 * KIB);
  expect([done, slots.bytes, slots.running]).toEqual([200, 0, 0]);
});
