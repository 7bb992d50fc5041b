import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test, vi } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Source files of a folder, as paths from the repository's root. */
function filesIn(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.(ts|mts|mjs|js)$/.test(name))
    .map((name) => join(folder, name));
}

const read = (file: string): string => readFileSync(join(root, file), 'utf8');

/** Removes comments from code. Approximate: the pattern also truncates a string that contains ` //`. */
const withoutComments = (code: string): string =>
  code.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '');

/** The imports of a file, type imports included: paths from the repository root, or package names. */
function importsOf(file: string): string[] {
  const found = [
    ...withoutComments(read(file)).matchAll(/(?:\bfrom\s*|(?<!')\bimport\s*\(?\s*|new URL\(\s*)'([^']+)'/g),
  ].map(([, target]) => target!);
  return found.map((target) =>
    target.startsWith('.')
      ? relative(root, join(root, dirname(file), target)).replace(/\.js$/, '.ts')
      : target,
  );
}

/**
 * The parts of src/ from top to bottom, read from ARCHITECTURE.md. Parts within one tier must not import each
 * other.
 */
const tiers = (/Imports go downward only: ([^;]*);/.exec(read('ARCHITECTURE.md'))?.[1] ?? '')
  .split('→')
  .map((tier) => [...tier.matchAll(/`(\w+)`/g)].map(([, part]) => part!));

const tierOf = (part: string): number => tiers.findIndex((tier) => tier.includes(part));
/** The part a source file belongs to: its folder or file name directly under src/, without `.ts`. */
const partOf = (file: string): string => file.split('/')[1]!.replace(/\.ts$/, '');
const sources = filesIn('src').filter((file) => !file.endsWith('.d.ts'));

/** Describes the import of `target` by `file` (both within src/) if the tiers forbid it. */
function violation(file: string, target: string): string | undefined {
  const [from, to] = [partOf(file), partOf(target)];
  const [above, below] = [tierOf(from), tierOf(to)];
  if (from === to || above < below) return undefined;
  return `${file} imports ${target}`;
}

/**
 * Finds an import cycle among files and returns its files in order, with the first one repeated at the end.
 */
function cycleAmong(files: readonly string[]): string[] | undefined {
  const finished = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (finished.has(file)) return undefined;
    for (const target of importsOf(file).filter((each) => files.includes(each))) {
      const cycle = visit(target, [...path, file]);
      if (cycle) return cycle;
    }
    finished.add(file);
    return undefined;
  };
  for (const file of files) {
    const cycle = visit(file, []);
    if (cycle) return cycle;
  }
  return undefined;
}

describe('src/', () => {
  test('every file belongs to a part, and every part has a file', () => {
    expect(sources.length).toBeGreaterThan(20);
    expect([...new Set(sources.map(partOf))].sort()).toEqual(tiers.flat().sort());
  });

  test('imports go downward only', () => {
    const within = sources
      .flatMap((file) => importsOf(file).map((target) => [file, target] as const))
      .filter(([, target]) => target.startsWith('src/'));
    expect(within.length).toBeGreaterThan(40);
    expect(within.flatMap(([file, target]) => violation(file, target) ?? [])).toEqual([]);
  });

  // Type imports count too: two files that import each other cannot be understood separately.
  test('there is no import cycle', () => {
    expect(sources.length).toBeGreaterThan(100);
    expect(cycleAmong(sources)).toBeUndefined();
  });

  test('the check detects an upward import', () => {
    expect(violation('src/graph/graph.ts', 'src/gpu/device.ts')).toBeDefined();
    expect(violation('src/weights/packing.ts', 'src/model/config.ts')).toBeDefined();
    expect(violation('src/image/geometry.ts', 'src/weights/names.ts')).toBeDefined();
    expect(violation('src/model/vit.ts', 'src/index.ts')).toBeDefined();
    expect(violation('src/load/fresh.ts', 'src/session/forwards.ts')).toBeDefined();
    expect(violation('src/model/config.ts', 'src/weights/names.ts')).toBeUndefined();
  });

  test('src/ imports only itself and shaders; only search/store/ imports a package, idb, and only node/ what Node has', () => {
    const outside = sources.flatMap((file) =>
      importsOf(file)
        .filter((target) => !target.startsWith('src/'))
        .map((target) => ({ file, target })),
    );
    const others = outside.filter(
      ({ file, target }) =>
        !/^shaders\/[\w/]+\.wgsl$/.test(target) &&
        !(partOf(file) === 'node' && /^(node:[\w/]+|webgpu|sharp)$/.test(target)) &&
        !(file === 'src/health.ts' && target === 'package.json'), // for the version
    );
    expect([...new Set(others.map(({ target }) => target))]).toEqual(['idb']);
    expect(others.filter(({ file }) => !file.startsWith('src/search/store/'))).toEqual([]);
  });

  test('only gpu/ imports shaders', () => {
    const users = sources.filter((file) => importsOf(file).some((target) => target.startsWith('shaders/')));
    expect(users.filter((file) => partOf(file) !== 'gpu')).toEqual([]);
  });

  test('graph/ names no GPU object', () => {
    const files = sources.filter((file) => partOf(file) === 'graph');
    expect(files.length).toBeGreaterThanOrEqual(2);
    expect(files.filter((file) => /\bGPU[A-Z]\w*/.test(withoutComments(read(file))))).toEqual([]);
  });

  test('no `any`, double assertion or suppression comment', () => {
    const inCode = /\bas any\b|: any\b|<any>|\bas unknown as\b/;
    const inComments = /@ts-(ignore|nocheck|expect-error)|(eslint|oxlint)-disable/;
    expect(
      sources.filter((file) => inCode.test(withoutComments(read(file))) || inComments.test(read(file))),
    ).toEqual([]);
  });

  test.each(['index', 'worker', 'search', 'safetensors', 'node'])(
    '%s.ts contains only export statements',
    (entry) => {
      const code = withoutComments(read(`src/${entry}.ts`));
      expect(code.replaceAll(/export\s+(\*|(type\s+)?\{[^}]*\})\s*from\s*'[^']+';/g, '').trim()).toBe('');
    },
  );
});

test('the demo imports only the public entries of src/', () => {
  const imports = filesIn('demo').flatMap((file) =>
    importsOf(file).filter((target) => target.startsWith('src/')),
  );
  expect(
    imports.filter((target) => !['src/index.ts', 'src/search.ts', 'src/worker.ts'].includes(target)),
  ).toEqual([]);
});

test('package.json has no runtime dependency, THIRD-PARTY.md names the bundled idb, and webgpu and sharp are optional peers', () => {
  const {
    dependencies = {},
    peerDependencies = {},
    peerDependenciesMeta = {},
    optionalDependencies = {},
  } = JSON.parse(read('package.json')) as Record<string, object>;
  expect({ ...dependencies, ...optionalDependencies }).toEqual({});
  expect(read('THIRD-PARTY.md')).toContain(
    `idb ${(JSON.parse(read('package.json')) as { devDependencies: Record<string, string> }).devDependencies['idb']}`,
  );
  expect(Object.keys(peerDependencies)).toEqual(['sharp', 'webgpu']);
  expect(peerDependenciesMeta).toEqual({ sharp: { optional: true }, webgpu: { optional: true } });
});

describe('an import of the library', () => {
  const forbidden = [
    'navigator',
    'document',
    'window',
    'self',
    'fetch',
    'caches',
    'indexedDB',
    'Worker',
    'OffscreenCanvas',
    'createImageBitmap',
    'GPUBufferUsage',
    'localStorage',
  ];
  afterEach(() => vi.unstubAllGlobals());

  test('reads no GPU, page or network global and adds no global', async () => {
    const kept = forbidden.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const);
    const touched: string[] = [];
    for (const [name] of kept) {
      const get = (): never => {
        touched.push(name);
        throw new Error(`the import touched ${name}`);
      };
      Object.defineProperty(globalThis, name, { get, configurable: true });
    }
    try {
      const before = Object.getOwnPropertyNames(globalThis);
      const library = await import('../src/index.ts');
      expect(Object.keys(library)).toContain('DINOv2');
      expect(Object.getOwnPropertyNames(globalThis)).toEqual(before);
      expect(touched).toEqual([]);
    } finally {
      for (const [name, descriptor] of kept) {
        if (descriptor) Object.defineProperty(globalThis, name, descriptor);
        else delete (globalThis as Record<string, unknown>)[name];
      }
    }
  });

  test('works without WebGPU: checkSupport reports WEBGPU_MISSING', async () => {
    vi.stubGlobal('navigator', {});
    const { checkSupport } = await import('../src/index.ts');
    await expect(checkSupport()).resolves.toMatchObject({ ok: false, code: 'WEBGPU_MISSING' });
  });
});

test('no `using` in src: Node 20 and current Safari cannot parse it, and not every page has a build step that compiles it', () => {
  expect(sources.filter((file) => /^\s*(await )?using /m.test(read(file)))).toEqual([]);
});

test('only the task, memory, scopes and polling files call allocating, submitting or mapping GPU methods', () => {
  const only =
    /\.(submit|createBuffer|createTexture|writeBuffer|writeTexture|mapAsync|pushErrorScope|popErrorScope|createCommandEncoder)\(/;
  const allowed = ['gpu/task.ts', 'gpu/memory.ts', 'gpu/scopes.ts', 'gpu/pollingDelay.ts'];
  const others = sources.filter((file) => !allowed.some((name) => file.endsWith(name)));
  expect(others.length).toBeGreaterThan(100);
  expect(others.filter((file) => only.test(read(file)))).toEqual([]);
});
