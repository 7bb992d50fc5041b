// The errors of a Node without a GPU: they name packages, drivers and variables, not browsers.
import { afterEach, expect, test, vi } from 'vitest';
import { adviceFor, requestNodeAdapter } from '../../src/node/gpu.ts';

afterEach(() => vi.doUnmock('webgpu'));

const errorWith = async (webgpu: () => object): Promise<{ code?: unknown; message: string }> => {
  vi.doMock('webgpu', webgpu);
  return requestNodeAdapter().then(
    () => ({ message: 'an adapter' }),
    (error: unknown) => error as Error,
  );
};

test('without the package webgpu, with one that does not load, and with one that finds no adapter', async () => {
  const missing = await errorWith(() => {
    throw Object.assign(new Error('none'), { code: 'ERR_MODULE_NOT_FOUND' });
  });
  expect(missing).toMatchObject({ code: 'WEBGPU_MISSING' });
  expect(missing.message).toMatch(/package webgpu.*npm install webgpu/);
  vi.resetModules();
  const none = await errorWith(() => ({ create: () => ({ requestAdapter: () => Promise.resolve(null) }) }));
  expect(none).toMatchObject({ code: 'ADAPTER_MISSING' });
  expect(none.message).toMatch(/^No GPU adapter was found\. /);
  expect(`${missing.message} ${none.message}`).not.toMatch(/browser|page/i);
});

test('the advice depends on the platform and on VK_DRIVER_FILES', () => {
  expect(adviceFor('linux', undefined)).toMatch(
    /^WebGPU needs Vulkan: .*libvulkan1.*NVIDIA.*lavapipe.*version 25.*VK_DRIVER_FILES/,
  );
  expect(adviceFor('linux', '/none/a.json')).toMatch(
    /^VK_DRIVER_FILES names a file that does not exist \(\/none\/a\.json\)\. WebGPU needs/,
  );
  expect(adviceFor('linux', process.execPath)).toMatch(/no other driver is tried/);
  expect(adviceFor('darwin', undefined)).toMatch(/Metal/);
  expect(adviceFor('win32', undefined)).toMatch(/Direct3D 12/);
});
