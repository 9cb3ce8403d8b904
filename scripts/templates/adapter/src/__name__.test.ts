import type { ModuleSite } from '@lft/core';
import { describeAdapter } from '@lft/testing';
import { __camel__ } from './__name__.js';

describeAdapter('__name__', () => __camel__());

const sites = [{ path: 'model.layers.0.self_attn.k_proj', kind: 'linear' }] as unknown as ModuleSite[];

test('a misspelt target is an error that names the nearest module', () => {
  const adapter = __camel__({ targets: ['k_porj'] });
  expect(() => adapter.prepare?.(sites, {} as never)).toThrow('did you mean "k_proj"?');
});
