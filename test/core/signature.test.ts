/** Signatures, held against two programs that others verify them with, and against the vectors that others publish. */

import fc from 'fast-check'
import { Webhook as StandardWebhook } from 'standardwebhooks'
import { Webhook as SvixWebhook } from 'svix'
import { describe, expect, test } from 'vitest'
import { verifyV1a } from '../../examples/verify-v1a.ts'
import {
  formatPrivateKey,
  formatPublicKey,
  formatSecret,
  type HmacKey,
  parsePrivateKey,
  parseSecret,
  type SigningKey,
  sign,
} from '../../src/core/signature.ts'

// The verifiers read the machine's clock and accept five minutes to either side.
const timestampSeconds = Math.floor(Date.now() / 1_000)

const anEntropy = fc.uint8Array({ minLength: 24, maxLength: 64 })
const aBody = fc.oneof(
  fc.json(),
  fc.json().map((json) => ` ${json}\n`),
  fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify(text)),
)
const anId = fc.stringMatching(/^evt_[0-9a-hjkmnp-tv-z]{26}$/)

function keyOf(secret: string): HmacKey {
  const key = parseSecret(secret)
  if (key === null) throw new Error('not a secret')
  return key
}

interface Message {
  readonly id: string
  readonly timestamp: string
  readonly body: string
  readonly signature: string
}

function message(id: string, body: string, keys: readonly SigningKey[]): Message {
  return { id, timestamp: String(timestampSeconds), body, signature: sign({ id, timestampSeconds, body, keys }) }
}

/** How many of the two verifiers accept. */
function acceptCount(secret: string, { id, timestamp, body, signature }: Message): number {
  const headers = { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signature }
  return [new StandardWebhook(secret), new SvixWebhook(secret)].filter((verifier) => {
    try {
      verifier.verify(body, headers)
      return true
    } catch {
      return false
    }
  }).length
}

describe('a signature', () => {
  test('is accepted by both verifiers, for any id, body and secret', () => {
    fc.assert(
      fc.property(anId, aBody, anEntropy, (id, body, entropy) => {
        const secret = formatSecret(entropy)
        expect(acceptCount(secret, message(id, body, [keyOf(secret)]))).toBe(2)
      }),
    )
  })

  test('is what the specification gives as its example', () => {
    const key = keyOf('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')
    const body = '{"test": 2432232314}'
    const signature = sign({ id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestampSeconds: 1_614_265_330, body, keys: [key] })
    expect(signature).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=')
  })

  test('breaks with any change of a byte of the body, the id, the time or the secret', () => {
    fc.assert(
      fc.property(
        anId,
        aBody,
        anEntropy,
        fc.nat(),
        fc.integer({ min: 1, max: 127 }),
        (id, body, entropy, place, flip) => {
          const secret = formatSecret(entropy)
          const sent = message(id, body, [keyOf(secret)])
          // Changing a half of a surrogate pair may leave the same bytes on the wire: both are written as U+FFFD.
          const changedBody = changed(body, place, flip)
          if (Buffer.compare(Buffer.from(changedBody), Buffer.from(body)) !== 0) {
            expect(acceptCount(secret, { ...sent, body: changedBody })).toBe(0)
          }
          expect(acceptCount(secret, { ...sent, id: changed(id, place, flip) })).toBe(0)
          expect(acceptCount(secret, { ...sent, timestamp: String(timestampSeconds - 1) })).toBe(0)
          const otherEntropy = Uint8Array.from(entropy)
          otherEntropy[place % entropy.length]! ^= flip
          expect(acceptCount(formatSecret(otherEntropy), sent)).toBe(0)
        },
      ),
    )
  })

  test('names the attempt: the same body at another second is signed differently', () => {
    const keys = [keyOf(formatSecret(new Uint8Array(24)))]
    const at = (seconds: number) => sign({ id: 'evt_1', timestampSeconds: seconds, body: '{}', keys })
    expect(at(1)).not.toBe(at(2))
    expect(at(1)).toBe(at(1))
  })

  test('by several keys is accepted under each of them, and under no other', () => {
    const entropies = fc.uniqueArray(anEntropy, { minLength: 2, maxLength: 4, selector: String })
    fc.assert(
      fc.property(anId, aBody, entropies, (id, body, [other, ...live]) => {
        const secrets = live.map(formatSecret)
        const sent = message(id, body, secrets.map(keyOf))
        expect(sent.signature.split(' ')).toHaveLength(secrets.length)
        expect(secrets.map((secret) => acceptCount(secret, sent))).toEqual(secrets.map(() => 2))
        // A key that is another one with zeros after it is the same key to HMAC.
        fc.pre(!live.some((entropy) => isSameHmacKey(entropy, other!)))
        expect(acceptCount(formatSecret(other!), sent)).toBe(0)
      }),
    )
  })
})

function changed(text: string, place: number, flip: number): string {
  const index = place % text.length
  return text.slice(0, index) + String.fromCharCode(text.charCodeAt(index) ^ flip) + text.slice(index + 1)
}

function isSameHmacKey(a: Uint8Array, b: Uint8Array): boolean {
  const padded = (key: Uint8Array) => Buffer.concat([key], 64)
  return Buffer.compare(padded(a), padded(b)) === 0
}

describe('a secret', () => {
  const base64Of = (byteCount: number) => Buffer.alloc(byteCount, 0xfb).toString('base64')

  test('reads back as the bytes it was made of', () => {
    fc.assert(
      fc.property(anEntropy, (entropy) => {
        expect(Buffer.from(keyOf(formatSecret(entropy)).secret)).toEqual(Buffer.from(entropy))
      }),
    )
  })

  test.each([
    ['of 24 bytes, the shortest', `whsec_${base64Of(24)}`, 24],
    ['of 64 bytes, the longest', `whsec_${base64Of(64)}`, 64],
    ['whose padding was left out', `whsec_${base64Of(25).replaceAll('=', '')}`, 25],
  ])('%s is read', (_form, text, byteCount) => {
    expect(parseSecret(text)?.secret).toHaveLength(byteCount)
  })

  test.each([
    ['nothing', ''],
    ['no prefix', base64Of(24)],
    ['another prefix', `whsk_${base64Of(24)}`],
    ['a prefix in capitals', `WHSEC_${base64Of(24)}`],
    ['a prefix alone', 'whsec_'],
    ['too short', `whsec_${base64Of(23)}`],
    ['too long', `whsec_${base64Of(65)}`],
    ['base64url', `whsec_${base64Of(24).replaceAll('+', '-').replaceAll('/', '_')}`],
    ['padding in the middle', `whsec_${'A'.repeat(16)}=${'A'.repeat(16)}`],
    ['three times padding', `whsec_${base64Of(24)}===`],
    ['a dangling character', `whsec_${base64Of(24)}A`],
    ['spare bits that are not zero', `whsec_${'A'.repeat(33)}B==`],
    ['a space before', ` whsec_${base64Of(24)}`],
    ['a line end after', `whsec_${base64Of(24)}\n`],
  ])('%s is none', (_form, text) => {
    expect(parseSecret(text)).toBeNull()
  })

  test('that is read from any text signs what the verifiers accept under that text', () => {
    const text = fc
      .tuple(anEntropy, fc.constantFrom('', '=', '=='))
      .map(([entropy, padding]) => formatSecret(entropy).replaceAll('=', '') + padding)
    fc.assert(
      fc.property(text, (secret) => {
        const key = parseSecret(secret)
        if (key !== null) expect(acceptCount(secret, message('evt_1', '{}', [key]))).toBe(2)
      }),
    )
  })
})

describe('an ed25519 signature', () => {
  const aSeed = fc.uint8Array({ minLength: 32, maxLength: 32 })
  const pairOf = (seed: Uint8Array) => {
    const key = parsePrivateKey(formatPrivateKey(seed))!
    return { key, publicKey: formatPublicKey(key) }
  }

  test('is what the Svix server and the specification give as their example', () => {
    const key = parsePrivateKey(
      'whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==',
    )!
    expect(formatPublicKey(key)).toBe('whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=')
    const body = '{"test": 2432232314}'
    const signature = sign({ id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestampSeconds: 1_614_265_330, body, keys: [key] })
    expect(signature).toBe(
      'v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==',
    )
  })

  // RFC 8032 §7.1, tests 1 to 3 and SHA(abc).
  test.each([
    [
      '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
    ],
    [
      '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
      '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c',
    ],
    [
      'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
      'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
    ],
    [
      '833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42',
      'ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf',
    ],
  ])('of the seed %s is verified by the public key that RFC 8032 gives', (seed, publicHalf) => {
    const { publicKey } = pairOf(Buffer.from(seed, 'hex'))
    expect(publicKey).toBe(`whpk_${Buffer.from(publicHalf, 'hex').toString('base64')}`)
  })

  test('is accepted by the verifier of the examples, beside others and alone, and breaks with any changed byte', () => {
    fc.assert(
      fc.property(anId, aBody, aSeed, fc.nat(), fc.integer({ min: 1, max: 127 }), (id, body, seed, place, flip) => {
        const { key, publicKey } = pairOf(seed)
        const { timestamp, signature } = message(id, body, [keyOf(formatSecret(Buffer.alloc(24, 1))), key])
        const sent = { body, signature, publicKeys: [publicKey], now: Number(timestamp) * 1_000 }
        expect(verifyV1a({ ...sent, id, timestamp })).toBe(true)
        const changedBody = changed(body, place, flip)
        if (Buffer.compare(Buffer.from(changedBody), Buffer.from(body)) !== 0) {
          expect(verifyV1a({ ...sent, id, timestamp, body: changedBody })).toBe(false)
        }
        expect(verifyV1a({ ...sent, id: `${id}0`, timestamp })).toBe(false)
        expect(verifyV1a({ ...sent, id, timestamp: String(Number(timestamp) + 1) })).toBe(false)
      }),
      { numRuns: 50 },
    )
  })

  test('of another pair is refused, however many come along', () => {
    const seeds = fc.uniqueArray(aSeed, { minLength: 2, maxLength: 4, selector: String })
    fc.assert(
      fc.property(seeds, ([other, ...live]) => {
        const pairs = live.map(pairOf)
        const { timestamp, signature } = message(
          'evt_1',
          '{}',
          pairs.map(({ key }) => key),
        )
        const accepts = (publicKey: string) =>
          verifyV1a({
            id: 'evt_1',
            timestamp,
            body: '{}',
            signature,
            publicKeys: [publicKey],
            now: Number(timestamp) * 1_000,
          })
        expect(pairs.map(({ publicKey }) => accepts(publicKey))).toEqual(pairs.map(() => true))
        expect(accepts(pairOf(other!).publicKey)).toBe(false)
      }),
      { numRuns: 50 },
    )
  })

  test('stands in nobody’s way who knows only v1: both verifiers accept what carries the two', () => {
    fc.assert(
      fc.property(anId, aBody, anEntropy, aSeed, (id, body, entropy, seed) => {
        const secret = formatSecret(entropy)
        const { key } = pairOf(seed)
        expect(acceptCount(secret, message(id, body, [keyOf(secret), key]))).toBe(2)
        expect(acceptCount(secret, message(id, body, [key, keyOf(secret)]))).toBe(2)
        expect(acceptCount(secret, message(id, body, [key]))).toBe(0)
      }),
      { numRuns: 50 },
    )
  })
})

describe('a private key', () => {
  const seed = Buffer.alloc(32, 3)
  const whsk = (bytes: Uint8Array) => `whsk_${Buffer.from(bytes).toString('base64')}`
  const good = Buffer.from(formatPrivateKey(seed).slice('whsk_'.length), 'base64')

  test('is written as the seed and the public key after it', () => {
    expect(good).toHaveLength(64)
    expect(good.subarray(0, 32)).toEqual(seed)
    expect(`whpk_${good.subarray(32).toString('base64')}`).toBe(formatPublicKey(parsePrivateKey(whsk(good))!))
  })

  test.each([
    ['nothing', ''],
    ['no prefix', good.toString('base64')],
    ['a shared secret', `whsec_${good.toString('base64')}`],
    ['a public key', `whpk_${good.subarray(32).toString('base64')}`],
    ['a seed alone', whsk(seed)],
    ['a byte too much', whsk(Buffer.concat([good, Buffer.alloc(1)]))],
    ['a public half of another pair', whsk(Buffer.concat([seed, Buffer.alloc(32, 4)]))],
    ['base64url', whsk(Buffer.alloc(64, 0xfb)).replaceAll('+', '-')],
  ])('%s is none', (_form, text) => {
    expect(parsePrivateKey(text)).toBeNull()
  })
})
