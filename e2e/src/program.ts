import ts from 'typescript';

/** A TypeScript program without its types, for Node. */
export function javascript(source: string, module: 'esm' | 'cjs'): string {
  return ts.transpileModule(source, {
    compilerOptions: {
      target: ts.ScriptTarget.ES2022,
      module: module === 'esm' ? ts.ModuleKind.ESNext : ts.ModuleKind.CommonJS,
      esModuleInterop: true,
      verbatimModuleSyntax: module === 'esm',
    },
  }).outputText;
}

/** The same program for CommonJS, which has no await outside functions: its imports, then the rest in one async function. */
export function withoutTopLevelAwait(source: string): string {
  const file = ts.createSourceFile('program.ts', source, ts.ScriptTarget.ES2022);
  const isImport = (statement: ts.Statement) => ts.isImportDeclaration(statement);
  const textOf = (statements: readonly ts.Statement[]) => statements.map((each) => each.getFullText(file)).join('');
  const imports = textOf(file.statements.filter(isImport));
  const rest = textOf(file.statements.filter((statement) => !isImport(statement)));
  return `${imports}\nasync function main() {${rest}\n}\n\nmain().catch((error) => {\n  console.error(error);\n  process.exitCode = 1;\n});\n`;
}
