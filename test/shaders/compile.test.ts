import { create, globals } from 'webgpu';
import { afterAll, describe, expect, test } from 'vitest';
import { ResourceType, WgslReflect, type VariableInfo } from 'wgsl_reflect/wgsl_reflect.module.js';
import { describeAdapter } from '../../src/gpu/adapter.ts';
import {
  assemble,
  defineKernel,
  type Access,
  type Kernel,
  type KernelVariant,
  type RenderKernel,
} from '../../src/gpu/kernels/kernel.ts';
import { weightHelpers } from '../../src/gpu/kernels/kernels.ts';
import { PipelineCache } from '../../src/gpu/pipelines.ts';
import { compileRender } from '../../src/gpu/renderPipelines.ts';
import { DRAW_FORMATS } from '../../src/tasks/drawTarget.ts';
import { forReflection, kernels, labelOf, shaderFiles, shaderText, variants } from './catalogue.ts';

// Dawn's null backend compiles shaders as Chrome does but executes nothing, so these tests only compile.
Object.assign(globalThis, globals);
const gpu = create(['backend=null']); // must stay referenced: Dawn aborts the process if it is collected while a pipeline is compiled
const adapter = await gpu.requestAdapter();
// Without requiredLimits the device has WebGPU's default limits, and rejects a pipeline that needs more.
const device = await adapter!.requestDevice({ requiredFeatures: ['shader-f16', 'subgroups'] });
const pipelines = new PipelineCache(device, describeAdapter(undefined));
afterAll(() => {
  device.destroy();
  void gpu;
});

const byKernel = new Map<Kernel, KernelVariant[]>(kernels.map((kernel) => [kernel, []]));
for (const variant of variants()) byKernel.get(variant.kernel)?.push(variant);

const isRender = (kernel: Kernel): kernel is RenderKernel => 'vertexEntryPoint' in kernel;

test('the table of kernels is found', () => {
  expect(kernels.length).toBeGreaterThanOrEqual(13);
  expect(new Set(kernels.map(labelOf)).size).toBe(kernels.length);
});

test.each(kernels.map((kernel) => [labelOf(kernel), kernel] as const))(
  '%s compiles for every model and storage, without a message',
  async (_, kernel) => {
    for (const variant of byKernel.get(kernel)!) {
      const module = device.createShaderModule({ code: assemble(variant, weightHelpers) });
      const { messages } = await module.getCompilationInfo();
      expect(messages.map(({ type, lineNum, message }) => `${type} ${lineNum}: ${message}`)).toEqual([]);
      if (isRender(kernel))
        for (const format of DRAW_FORMATS) await compileRender(device, pipelines, kernel, format);
      else await pipelines.compile(variant);
    }
  },
);

describe("WebGPU's default limits", () => {
  test("are the device's limits", () => {
    const {
      maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup,
      maxStorageBuffersPerShaderStage,
      maxComputeWorkgroupSizeX,
    } = device.limits;
    expect([
      maxComputeWorkgroupStorageSize,
      maxComputeInvocationsPerWorkgroup,
      maxStorageBuffersPerShaderStage,
      maxComputeWorkgroupSizeX,
    ]).toEqual([16_384, 256, 8, 256]);
  });

  test.each([
    [
      'workgroup memory',
      'var<workgroup> a: array<u32, 4097>;\n@compute @workgroup_size(1) fn main() { a[0] = 1u; out[0] = a[1]; }',
    ],
    ['invocations', '@compute @workgroup_size(16, 17) fn main() { out[0] = 1u; }'],
  ])('reject a kernel with too much of: %s', async (_, body) => {
    const kernel = defineKernel(
      'greedy',
      `@group(0) @binding(0) var<storage, read_write> out: array<u32>;\n${body}`,
      'main',
      ['write out'],
    );
    await expect(pipelines.compile({ kernel, constants: {} })).rejects.toMatchObject({
      code: 'KERNEL_COMPILE',
    });
  });
});

describe('bindings declared in the table and in the shader', () => {
  const accessOf = ({ resourceType, access }: VariableInfo): Access =>
    resourceType === ResourceType.Uniform
      ? 'uniform'
      : resourceType === ResourceType.Texture
        ? 'external'
        : access === 'read'
          ? 'read'
          : 'write';

  function declared(variant: KernelVariant): string[] {
    const { resources } = new WgslReflect(forReflection(variant, weightHelpers)).getFunctionInfo(
      variant.kernel.entryPoint,
    )!;
    const sorted = [...resources].sort((a, b) => a.binding - b.binding);
    return sorted.map(
      (variable) => `${variable.group}.${variable.binding} ${accessOf(variable)} ${variable.name}`,
    );
  }

  test.each(kernels.map((kernel) => [labelOf(kernel), kernel] as const))(
    '%s: the same names, order and access in both',
    (_, kernel) => {
      const [variant] = byKernel.get(kernel)!;
      expect(declared(variant!)).toEqual(
        kernel.bindings.map(({ name, access }, binding) => `0.${binding} ${access} ${name}`),
      );
    },
  );

  test('a difference between table and shader is detected', () => {
    const [kernel] = kernels.filter(({ name }) => name === 'layer_norm');
    const text = kernel!.text.replace(
      '@binding(1) var<storage, read> x',
      '@binding(1) var<storage, read_write> x',
    );
    expect(text).not.toBe(kernel!.text);
    const [variant] = byKernel.get(kernel!)!;
    expect(declared({ ...variant!, kernel: { ...kernel!, text } })).toContain('0.1 write x');
  });
});

/** The lines of a text, without comments. */
const codeLines = (text: string): string[] =>
  text.split('\n').map((line) => line.replace(/\/\/.*/, '').trimEnd());

describe('shaders/', () => {
  test('every file is a kernel of the table', () => {
    expect(shaderFiles().sort()).toEqual([...new Set(kernels.map(({ name }) => `${name}.wgsl`))].sort());
  });

  test('every entry point is in the table', () => {
    for (const file of shaderFiles()) {
      const ofFile = kernels.filter(({ name }) => `${name}.wgsl` === file);
      const shared = new Set(ofFile.flatMap((kernel) => kernel.shared));
      const entryPoints = [shaderText(file), ...shared]
        .flatMap((text) => [
          ...text.matchAll(/(?:@compute\s+@workgroup_size\([^)]*\)|@fragment|@vertex)\s*fn (\w+)/g),
        ])
        .map(([, name]) => name);
      const listed = ofFile.flatMap((kernel) =>
        isRender(kernel) ? [kernel.entryPoint, kernel.vertexEntryPoint] : kernel.entryPoint,
      );
      expect(entryPoints.sort(), file).toEqual(listed.sort());
    }
  });

  test('every shared file is used', () => {
    const used = new Set(
      [...kernels.flatMap(({ shared }) => shared), ...Object.values(weightHelpers)].map((text) =>
        codeLines(text).join(''),
      ),
    );
    for (const file of shaderFiles('shared/'))
      expect(used.has(codeLines(shaderText(`shared/${file}`)).join('')), file).toBe(true);
  });

  test("a kernel's text has the lines of its file, one line further down", () => {
    for (const [kernel, [variant]] of byKernel) {
      const lines = codeLines(assemble(variant!, weightHelpers)).slice(1);
      const file = codeLines(shaderText(`${kernel.name}.wgsl`).trimEnd());
      expect(lines.slice(0, file.length), kernel.name).toEqual(file);
    }
  });
});
