// What a user's editor shows: the published declarations, read with the TypeScript API.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import ts from 'typescript';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildTypes, ENTRIES } from '../scripts/build-types.mjs';

const folder = mkdtempSync(join(tmpdir(), 'types-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let checker: ts.TypeChecker;
let program: ts.Program;
const entries = Object.keys(ENTRIES).filter((name) => name !== 'worker-thread'); // which exports nothing
const fileOf = (name: string): string => join(folder, `${name}.d.ts`);

beforeAll(async () => {
  await buildTypes(folder);
  program = ts.createProgram(entries.map(fileOf), {
    noEmit: true,
    strict: true,
    lib: ['lib.es2024.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts', 'lib.esnext.disposable.d.ts'],
    module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
    types: ['@webgpu/types'],
  });
  checker = program.getTypeChecker();
}, 60_000);

const isOurs = (symbol: ts.Symbol): boolean =>
  symbol.declarations?.some((node) => node.getSourceFile().fileName.startsWith(folder)) ?? false;

const exportsOf = (entry: string): ts.Symbol[] => {
  const file = program.getSourceFile(fileOf(entry))!;
  return checker
    .getExportsOfModule(checker.getSymbolAtLocation(file)!)
    .map((symbol) => (symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol));
};

const isBare = (symbol: ts.Symbol): boolean =>
  ts.displayPartsToString(symbol.getDocumentationComment(checker)).trim() === '';

/** Properties and methods, static ones included, that a user can see and that are declared by the library. */
function membersOf(symbol: ts.Symbol): ts.Symbol[] {
  const type = checker.getDeclaredTypeOfSymbol(symbol);
  const parts = type.isUnion() ? type.types : [type];
  const members = parts.flatMap((part) => checker.getPropertiesOfType(part));
  if (symbol.flags & ts.SymbolFlags.Class)
    members.push(...checker.getPropertiesOfType(checker.getTypeOfSymbol(symbol)));
  return members.filter((member) => {
    const name = member.getName();
    return isOurs(member) && name !== 'prototype' && !name.startsWith('__') && !name.startsWith('#');
  });
}

test.each(entries)('every export of %s and every member of it has a doc comment', (entry) => {
  const exported = exportsOf(entry);
  expect(exported.length).toBeGreaterThan(4);
  const bare = new Set<string>();
  for (const symbol of exported) {
    if (isBare(symbol)) bare.add(symbol.getName());
    for (const member of membersOf(symbol))
      if (isBare(member)) bare.add(`${symbol.getName()}.${member.getName()}`);
  }
  expect([...bare]).toEqual([]);
});

/** Type operators that derive the worker's classes from the classes of the library. */
const HELPERS = ['Handle', 'Loaders', 'Moved', 'PublicClass', 'Swap'];

test('every type that the declarations name is exported by an entry', () => {
  const exported = new Set(entries.flatMap(exportsOf));
  const hidden = new Set<string>();
  for (const file of program.getSourceFiles()) {
    if (!file.fileName.startsWith(folder)) continue;
    for (const statement of file.statements) {
      if (statement.flags & ts.NodeFlags.GlobalAugmentation) continue; // the types of WebGPU
      const names = ts.isVariableStatement(statement)
        ? statement.declarationList.declarations.map(({ name }) => name)
        : [(statement as ts.DeclarationStatement).name];
      for (const name of names) {
        const symbol = name && checker.getSymbolAtLocation(name);
        if (symbol && !exported.has(symbol)) hidden.add(symbol.getName());
      }
    }
  }
  expect([...hidden].sort()).toEqual(HELPERS);
});
