/** Answers requests to the hub with tiny checkpoints, so that pages can load published ids without a network. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { BrowserContext } from 'playwright';
import { encodeSafetensors, parseSafetensors } from '../../src/safetensors.ts';
import { facebookPreprocessor } from '../loading/preprocessors.ts';

const references = fileURLToPath(new URL('../fixtures/reference', import.meta.url));

/** Names of the classes of the tiny classifier. */
export const CLASSES: readonly string[] = ['cat', 'cup', 'rocket', 'person'];

/** A tiny checkpoint by the names of its files. With `classifier`, it has a linear head with `CLASSES`. */
export function tinyCheckpoint(
  name: 'tiny-plain' | 'tiny-registers',
  { classifier = false } = {},
): ReadonlyMap<string, Buffer> {
  const read = (file: string): Buffer => readFileSync(join(references, name, file));
  const [config, weights] = [read('config.json'), read('model.safetensors')];
  const files = new Map([
    ['config.json', config],
    ['preprocessor_config.json', Buffer.from(facebookPreprocessor)],
    ['model.safetensors', weights],
  ]);
  if (!classifier) return files;
  const fields = JSON.parse(config.toString()) as { hidden_size: number };
  const width = 2 * fields.hidden_size;
  const tensors = [...parseSafetensors(weights).tensors].map(
    ([key, { dtype, shape, begin, end }]) =>
      [`dinov2.${key}`, { dtype, shape, data: weights.subarray(begin, end) }] as const,
  );
  const head = Float32Array.from({ length: CLASSES.length * width }, (_, i) => Math.sin(i * i) / 4);
  files.set(
    'model.safetensors',
    Buffer.from(
      encodeSafetensors([
        ...tensors,
        ['classifier.weight', { dtype: 'F32', shape: [CLASSES.length, width], data: head }],
        [
          'classifier.bias',
          { dtype: 'F32', shape: [CLASSES.length], data: new Float32Array(CLASSES.length) },
        ],
      ]),
    ),
  );
  files.set(
    'config.json',
    Buffer.from(
      JSON.stringify({
        ...fields,
        architectures: ['Dinov2ForImageClassification'],
        id2label: { ...CLASSES },
        label2id: Object.fromEntries(CLASSES.map((label, i) => [label, i])),
      }),
    ),
  );
  return files;
}

/** Answers every request of a context to https://huggingface.co with a tiny checkpoint. */
export async function fakeHub(context: BrowserContext): Promise<void> {
  const plain = tinyCheckpoint('tiny-plain');
  const registers = tinyCheckpoint('tiny-registers');
  const classifier = tinyCheckpoint('tiny-plain', { classifier: true });
  await context.route('https://huggingface.co/**', (route) => {
    const { pathname } = new URL(route.request().url());
    const files = pathname.includes('-imagenet1k-')
      ? classifier
      : pathname.includes('-with-registers-')
        ? registers
        : plain;
    const body = files.get(pathname.split('/').at(-1)!);
    const headers = { 'access-control-allow-origin': '*' };
    return body ? route.fulfill({ body, headers }) : route.fulfill({ status: 404, headers });
  });
}
