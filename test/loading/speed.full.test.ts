// CPU time to load ViT-B from a file, compared with copying the same bytes to the GPU.
import { mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { huggingFaceTensors } from '../../src/weights/huggingFace.ts';
import { placeTensors } from '../../src/weights/names.ts';
import { encodeSafetensorsHeader } from '../../src/safetensors.ts';
import { syntheticStream } from '../../src/weights/synthetic.ts';
import { openTensors } from '../../src/safetensors/tensorStream.ts';
import { loadWeights } from '../../src/weights/weights.ts';
import { acquireGpu } from '../../src/gpu/device.ts';
import { configOf } from '../../src/model/config.ts';
import { parameters } from '../../src/model/parameters.ts';

/**
 * Upper limit of the ratio. The target is 1.5; measured are 1.33 on lavapipe and 1.5 to 1.75 on SwiftShader
 * (docs/internals/loading.md explains the difference). Other work on the machine has raised it to 1.9.
 */
const MAX_RATIO = 2.5;
const folder = mkdtempSync(join(tmpdir(), 'speed-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/**
 * CPU milliseconds of all threads of this process. Wall time would depend on other processes of the machine.
 */
async function cpuMs(run: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

test('loading takes at most 2.5 times the CPU time of copying', { timeout: 600_000 }, async () => {
  const wanted = parameters(configOf('base'));
  const { header, pieces } = syntheticStream(huggingFaceTensors(wanted));
  const path = join(folder, 'model.safetensors');
  const file = await open(path, 'w');
  await file.writeFile(encodeSafetensorsHeader(header.tensors, header.metadata).bytes);
  for await (const { bytes } of pieces) await file.writeFile(bytes);
  await file.close();
  const gpu = await acquireGpu();
  const { queue } = gpu.device;

  const copy = async (): Promise<void> => {
    const source = await open(path);
    const buffers: GPUBuffer[] = [];
    const chunk = new Uint8Array(4 * 2 ** 20);
    for (;;) {
      const { bytesRead } = await source.read(chunk, 0, chunk.length);
      if (bytesRead === 0) break;
      const buffer = gpu.memory.storage('copy', chunk.length);
      queue.writeBuffer(buffer, 0, chunk, 0, bytesRead - (bytesRead % 4));
      buffers.push(buffer);
    }
    await queue.onSubmittedWorkDone();
    await source.close();
    for (const buffer of buffers) gpu.memory.destroy(buffer);
  };
  const load = async (): Promise<void> => {
    const stream = await openTensors(path);
    const { placements } = placeTensors(stream.header, wanted);
    const weights = await loadWeights(gpu, stream, { parameters: wanted, placements }, { storage: 'f32' });
    await queue.onSubmittedWorkDone();
    weights.destroy();
  };
  const [copying, loading]: number[][] = [[], []];
  for (let run = 0; run < 4; run++) {
    copying!.push(await cpuMs(copy));
    loading!.push(await cpuMs(load));
  }
  const ratio = Math.min(...loading!) / Math.min(...copying!);
  console.log(
    `ViT-B, ${header.fileBytes} bytes: copied in ${Math.min(...copying!).toFixed(0)} ms of CPU, loaded in ${Math.min(...loading!).toFixed(0)}: ${ratio.toFixed(2)}`,
  );
  gpu.release();
  expect(ratio).toBeLessThanOrEqual(MAX_RATIO);
});
