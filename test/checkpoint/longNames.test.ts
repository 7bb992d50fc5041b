// Tensor names of a million characters, made of parts that this library looks for: each is read or refused within a
// second, and no error message is long.
import { expect, test } from 'vitest';
import { CheckpointError } from '../../src/errors.ts';
import { configOf } from '../../src/model/config.ts';
import { parameters } from '../../src/model/parameters.ts';
import { parseSafetensors, encodeSafetensors } from '../../src/safetensors.ts';
import { placeTensors } from '../../src/weights/names.ts';
import { fastestMs } from '../fastest.ts';

const many = (part: string): string => part.repeat(Math.ceil(1_000_000 / part.length));
const wanted = parameters(configOf('small'));

test.each([
  ['dots', many('.')],
  ['prefixes', many('a.')],
  ['wrappers', `${many('module.')}cls_token`],
  ['blocks', many('blocks.0.')],
  ['layers of Hugging Face', many('encoder.layer.0.')],
  ['a parameter after a long prefix', `${many('x')}.cls_token`],
  ['a parameter with a long name', `blocks.0.${many('attn.')}weight`],
  ['an adapter', `${many('lora_A.')}weight`],
  ['an adapter behind wrappers', `${many('base_model.model.')}blocks.0.attn.qkv.lora_A.default.weight`],
  ['a rotary embedding', many('rope.')],
  ['line breaks', many('\n')],
])('%s', (_, name) => {
  const tensor = { dtype: 'F32', shape: [1], data: Float32Array.of(1) } as const;
  const header = parseSafetensors(
    encodeSafetensors([
      [name, tensor],
      ['cls_token', tensor],
      ['blocks.0.norm1.weight', tensor],
    ]),
  );
  let error: unknown;
  const elapsedMs = fastestMs(1000, () => {
    try {
      placeTensors(header, wanted);
    } catch (reason) {
      error = reason;
    }
  });
  expect(elapsedMs).toBeLessThan(1000);
  expect(error).toBeInstanceOf(CheckpointError);
  expect((error as Error).message.length).toBeLessThan(5000);
});
