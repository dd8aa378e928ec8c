/** Addresses as they are compared: one spelling each, whatever interface a zone names. */

import { expect, test } from 'vitest'
import { createAddressGuard } from '../../src/webhook/address-guard.ts'
import { canonicalAddress, isLoopback, parseAllowList } from '../../src/webhook/address-policy.ts'

test.each([
  ['fe80::1%eth0', 'fe80::1'],
  ['FD00:0:0::0254%3', 'fd00::254'],
  ['::1%lo', '::1'],
  ['010.0.0.1', '8.0.0.1'],
  ['not an address', null],
])('%s is %s', (text, canonical) => {
  expect(canonicalAddress(text)).toBe(canonical)
})

test('a zone does not hide loopback', () => {
  expect(isLoopback('::1%lo')).toBe(true)
})

test('a metadata server that a name leads to with a zone stays closed, also in a block that is open', async () => {
  const parsed = parseAllowList(['fc00::/7'])
  if (!('allow' in parsed)) throw new Error('the list cannot be read')
  const codeOf = (address: string) => {
    const guard = createAddressGuard({
      allow: parsed.allow,
      ownOrigins: () => [],
      resolve: (_name, callback) => callback(null, [{ address, family: 6 }]),
    })
    return new Promise((resolve) => {
      guard.lookupFor(443)('receiver.example', { all: true }, (error) => resolve(error?.code ?? 'open'))
    })
  }
  expect(await codeOf('fd00:ec2::255%eth0')).toBe('open')
  expect(await codeOf('fd00:ec2::254%eth0')).toBe('ERR_BLOCKED_ADDRESS')
})
