// The published declarations compile with each version of TypeScript, without `skipLibCheck`. Installs the
// compilers from the registry and the packed library in an empty folder. docs/guide/typescript.md has the table.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  compile,
  installCompilers,
  LIBS,
  RESOLUTIONS,
  VERSIONS,
} from '../../scripts/consumers/typescript.mjs';
import { packedLibrary } from '../builds.ts';
import { long } from '../full.ts';

const into = mkdtempSync(join(tmpdir(), 'typescript-'));
afterAll(() => rmSync(into, { recursive: true, force: true }));

let project: string;
beforeAll(async () => {
  project = installCompilers({ tarball: await packedLibrary(), into });
}, 600_000);

// The oldest library and one resolution in the full tier, everything in the long tier.
const settings = VERSIONS.flatMap((version) =>
  (long ? LIBS : LIBS.slice(0, 1)).flatMap((lib) =>
    (long ? Object.keys(RESOLUTIONS) : ['bundler']).flatMap((resolution) =>
      [false, true].map((webgpuTypes) => ({ version, lib, resolution, webgpuTypes })),
    ),
  ),
);

test.each(settings)(
  'TypeScript $version, lib $lib, $resolution, @webgpu/types: $webgpuTypes',
  ({ version, lib, resolution, webgpuTypes }) => {
    const found = compile(project, { version, lib, resolution, webgpuTypes });
    expect(found, found.text).toMatchObject({ library: 0, app: 0 });
    const before6 = version === '5.9';
    // Before version 6, TypeScript knows the members of GPU objects only with @webgpu/types.
    expect(found.gpu > 0, found.text).toBe(before6 && !webgpuTypes);
    // From version 6 on, @webgpu/types conflicts with TypeScript's own declarations of WebGPU.
    expect(found.webgpuTypes > 0, found.text).toBe(!before6 && webgpuTypes);
    if (before6) expect(found.other, found.text).toBe(0);
  },
);
