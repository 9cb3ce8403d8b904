/**
 * Links a release against an older glibc than the machine's: stubs of its libraries offer each function in the newest version that the old
 * one has. glibc keeps every version that it ever had, so the stubs are made from the installed libraries.
 */
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { must } from './onednn.mjs';

/** Node's own binaries need no newer one. */
export const GLIBC = '2.28';

const LIBRARIES = {
  x64: ['libc.so.6', 'libm.so.6', 'ld-linux-x86-64.so.2'],
  arm64: ['libc.so.6', 'libm.so.6', 'ld-linux-aarch64.so.1'],
};

const isOld = (version) => compare(version, GLIBC) <= 0;

function compare(a, b) {
  const [x, y] = [a, b].map((version) => version.split('.').map(Number));
  for (let i = 0; i < Math.max(x.length, y.length); i++) {
    if ((x[i] ?? 0) !== (y[i] ?? 0)) return (x[i] ?? 0) - (y[i] ?? 0);
  }
  return 0;
}

/** The dynamic symbols of a library or addon: `{ name, version, defined, data }`, version undefined where there is none. */
async function symbols(file, { objdump }) {
  const listing = await must(objdump, ['-T', file], 'Install binutils.');
  return listing.split('\n').flatMap((line) => {
    const found = /^[0-9a-f]+ (.{7}) (\S+)\s+[0-9a-f]+ +(?:\(?([\w.]+)\)? +)?(\S+)$/.exec(line);
    const [, flags, section, version, name] = found ?? [];
    // What is absolute is a version's own name.
    if (!found || section === '*ABS*') return [];
    return [
      {
        name,
        version: version === 'Base' ? undefined : version,
        defined: section !== '*UND*',
        data: flags.includes('O'),
      },
    ];
  });
}

/** @returns the stub libraries, to link in place of -lc and -lm */
export async function glibcStubs(folder, target) {
  const stubs = [];
  for (const library of LIBRARIES[target.arch]) {
    const original = (await must(target.cxx, [`-print-file-name=${library}`], '')).trim();
    const newest = new Map();
    for (const symbol of await symbols(original, target)) {
      const version = /^GLIBC_([\d.]+)$/.exec(symbol.version ?? '')?.[1];
      if (!symbol.defined || !version || !isOld(version)) continue;
      const known = newest.get(symbol.name);
      if (!known || compare(version, known.version) > 0) newest.set(symbol.name, { version, data: symbol.data });
    }
    const versions = [...new Set([...newest.values()].map(({ version }) => version))];
    const base = path.join(folder, library);
    writeFileSync(`${base}.map`, versions.map((version) => `GLIBC_${version} { };\n`).join(''));
    writeFileSync(
      `${base}.s`,
      [...newest]
        .map(([name, { version, data }], i) =>
          [
            `.globl stub${i}\n.type stub${i}, %${data ? 'object' : 'function'}\nstub${i}: .quad 0\n.size stub${i}, 8`,
            `.symver stub${i}, ${name}@@GLIBC_${version}\n`,
          ].join('\n'),
        )
        .join(''),
    );
    const link = ['-shared', '-nostdlib', `-Wl,-soname,${library}`, `-Wl,--version-script=${base}.map`];
    await must(target.cxx, [...link, `${base}.s`, '-o', base], 'The stub of glibc could not be made.');
    stubs.push(base);
  }
  return stubs;
}

/** @throws Error when the addon needs what an old system lacks, or a library besides glibc's and GCC's unwinder */
export async function assertPortable(addon, target) {
  const wrong = [];
  for (const { name, version, defined } of await symbols(addon, target)) {
    if (defined || name.startsWith('napi_')) continue;
    const glibc = /^GLIBC_([\d.]+)$/.exec(version ?? '')?.[1];
    const isUnwinder = /^GCC_[34]\./.test(version ?? '');
    const isOptional = version === undefined && /^(_ITM_|__gmon_start__|__cxa_finalize)/.test(name);
    if (!isUnwinder && !isOptional && !(glibc && isOld(glibc))) wrong.push(`${name} (${version ?? 'in no library'})`);
  }
  const dynamic = await must(target.objdump, ['-p', addon], '');
  const allowed = /^(lib(c|m|gcc_s|pthread|dl)\.so\.\d|ld-linux-[\w-]+\.so\.\d)$/;
  for (const [, library] of dynamic.matchAll(/NEEDED\s+(\S+)/g)) if (!allowed.test(library)) wrong.push(library);
  if (wrong.length > 0)
    throw new Error(`${addon} does not run with glibc ${GLIBC} alone: it needs ${wrong.join(', ')}`);
}
