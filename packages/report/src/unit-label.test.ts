import { moduleColumns, placeUnits } from './unit-label.js';

test.each([
  ['model.layers.3', 'block 3', 3, undefined],
  ['model.layers.3.self_attn.q_proj', '3.q', 3, 'q'],
  ['model.layers.11.mlp.down_proj', '11.down', 11, 'down'],
  ['model.layers.0.input_layernorm', '0.norm 1', 0, 'norm 1'],
  ['model.layers.2.self_attn.q_proj.lora_A.weight', '2.q.A', 2, 'q.A'],
  ['model.layers.2.self_attn.q_proj.bias', '2.q.bias', 2, 'q.bias'],
  ['model.embed_tokens', 'embedding', undefined, undefined],
  ['model.embed_tokens.weight', 'embedding', undefined, undefined],
  ['model.norm', 'final norm', undefined, undefined],
  ['lm_head', 'head', undefined, undefined],
  ['transformer.h.4.attn.c_attn', '4.c_attn', 4, 'c_attn'],
  ['constructor', 'constructor', undefined, undefined],
])('%s is called %s', (id, label, block, module) => {
  expect(placeUnits([id]).get(id)).toEqual({ id, label, block, module });
});

test('two units never share a label', () => {
  const ids = ['model.layers.0.self_attn.o_proj', 'model.layers.0.cross_attn.o_proj'];
  expect([...placeUnits(ids).values()].map(({ label }) => label)).toEqual(ids);
});

test('columns stand in the order of the forward pass', () => {
  const ids = ['mlp.down_proj', 'router', 'self_attn.k_proj', 'self_attn.q_proj', 'mlp.gate_proj'].map(
    (m) => `model.layers.0.${m}`,
  );
  expect(moduleColumns(placeUnits(ids).values())).toEqual(['q', 'k', 'gate', 'down', 'router']);
});
