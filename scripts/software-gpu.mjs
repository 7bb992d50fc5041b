// Finds or unpacks a Chromium with WebGPU, and a software Vulkan driver for dawn.node. Needs neither apt nor
// a download: the package @sparticuz/chromium contains both.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cache = join(root, 'node_modules', '.cache', 'chromium');

async function unpack() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(
      `The browser in node_modules needs Linux x64, and this is ${process.platform} ${process.arch}. Install Chrome, or set CHROMIUM_PATH.`,
    );
  }
  mkdirSync(cache, { recursive: true });
  const { TMPDIR, AWS_EXECUTION_ENV } = process.env;
  process.env.TMPDIR = cache; // the package always unpacks into os.tmpdir()
  process.env.AWS_EXECUTION_ENV = 'AWS_Lambda_nodejs20.x'; // also unpack libnss3, libnspr4 and libexpat, which a bare Debian lacks
  try {
    const { default: chromium } = await import('@sparticuz/chromium');
    return await chromium.executablePath();
  } finally {
    for (const [key, value] of Object.entries({ TMPDIR, AWS_EXECUTION_ENV })) {
      if (value === undefined) delete process.env[key];
      else process.env[key] = value;
    }
  }
}

/**
 * Returns the path of the first Chromium found: $CHROMIUM_PATH, the system's, Playwright's,
 * @sparticuz/chromium's.
 */
export async function chromiumPath() {
  const { CHROMIUM_PATH } = process.env;
  if (CHROMIUM_PATH === 'npm') return unpack();
  if (CHROMIUM_PATH) return CHROMIUM_PATH;
  const { chromium } = await import('playwright');
  const candidates = ['/usr/bin/chromium', '/usr/bin/google-chrome', chromium.executablePath()];
  return candidates.find((path) => path && existsSync(path)) ?? unpack();
}

/**
 * Writes a fontconfig file into a folder, for the variable FONTCONFIG_FILE, and returns its path. It names the
 * fonts shipped with Chromium: a packaged Chromium finds no fonts by default and then draws no text.
 */
export function fontsFile(folder, executablePath) {
  const file = join(folder, 'fonts.conf');
  const folders = ['/usr/share/fonts', join(dirname(executablePath), 'fonts')]
    .map((each) => `<dir>${each}</dir>`)
    .join('');
  const fonts = join(folder, 'fonts');
  mkdirSync(fonts, { recursive: true });
  writeFileSync(
    file,
    `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>${folders}<cachedir>${fonts}</cachedir></fontconfig>`,
  );
  return file;
}

/** Returns the folder that has libvulkan.so.1 and vk_swiftshader_icd.json, which come with a Chromium. */
export function vulkanFolder(chromium) {
  return ['/usr/lib/chromium', dirname(chromium), '/opt/google/chrome', cache].find((dir) =>
    existsSync(join(dir, 'vk_swiftshader_icd.json')),
  );
}

/**
 * Makes dawn.node use a Vulkan driver (given as an ICD file) and, if given, a Vulkan loader. Call before
 * `create()` of the webgpu package.
 */
export function useVulkanDriver(icd, loader) {
  process.env.VK_DRIVER_FILES = icd;
  if (!loader) return;
  const RTLD_NOW = 2,
    RTLD_GLOBAL = 0x100,
    RTLD_NODELETE = 0x1000;
  try {
    process.dlopen({ exports: {} }, loader, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
  } catch {
    // Node throws because the library is no addon, but the library is loaded by then. RTLD_NODELETE keeps it
    // loaded, and Dawn finds it by its soname.
  }
}

/** Makes dawn.node use the SwiftShader driver and the Vulkan loader in a folder. */
export function useSwiftShader(folder) {
  useVulkanDriver(join(folder, 'vk_swiftshader_icd.json'), join(folder, 'libvulkan.so.1'));
}

/**
 * Makes dawn.node poll less often. By default it polls in every turn of the event loop, and so takes a core
 * from the software driver's compiler. After this call, the first 50 polls of a wait run at once, for work
 * that takes microseconds, and later polls once per millisecond. Dawn's callbacks are recognised by their
 * source text, which is `[native code]`.
 */
export function pollLessOften() {
  const AT_ONCE = 50;
  const immediate = globalThis.setImmediate;
  let polling = false;
  let polls = 0;
  const patient = (callback, ...args) => {
    if (!/\[native code\]/.test(Function.prototype.toString.call(callback)))
      return immediate(callback, ...args);
    polls = polling ? polls + 1 : 0;
    const poll = () => {
      polling = true;
      try {
        callback(...args);
      } finally {
        polling = false;
      }
    };
    return polls < AT_ONCE ? immediate(poll) : setTimeout(poll, 1);
  };
  globalThis.setImmediate = Object.assign(patient, immediate);
}

export const chromiumArgs = [
  '--no-sandbox',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--use-angle=swiftshader',
  '--enable-features=Vulkan',
  '--use-vulkan=swiftshader',
  '--enable-unsafe-swiftshader',
  '--use-fake-device-for-media-stream', // a camera that shows a moving circle
  '--use-fake-ui-for-media-stream', // grants access to it
];
