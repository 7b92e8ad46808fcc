// SPDX-License-Identifier: Apache-2.0

// The service's behaviour was collected as 118 vectors, by number. This table
// says which test has which; tests that have several name them.
//
//	1-14, 25-27  TestDecide; 2 and 13 also TestDocumentation, TestAlertOnlyProfilesPassAndAreReported
//	15, 16       TestFailures; 16 also TestService
//	17, 18       TestFailures, TestService; TLS and resets are in internal/scanhttp
//	19           TestABlockIsABlockWhenFailuresPass
//	20           TestFailures, TestService, TestConfigurationFailures
//	21, 22       TestFailures, TestService, TestThrottledServiceIsLeftAlone; the header is in internal/scanhttp
//	23, 24       TestFailures, TestService
//	28-34        TestScan
//	35, 36       do not apply: a gateway does not know what an answer should be grounded in, so no context is sent
//	37           TestBlockedTopic
//	38-42        TestScan; 38's own answer, where more than sensitive data fired, is in TestDecideRealAnswers
//	43           the reason for the labels in TestPayloads: conversation
//	44-49, 51    TestScan; 49 also TestMCP
//	50, 52-54    must never be sent: FuzzPlan against the stand-in, which refuses them (internal/fakeairs, TestRefusals)
//	55           TestCorrelation; the service's side is in internal/fakeairs. tr_id stays without a session, as documented
//	56           TestPayloads: long-session
//	57           TestService: wrong key
//	58           TestDecodeErrors: a profile has to be configured; the stand-in's answer is in internal/fakeairs
//	59-79, 83, 84, 86, 88  TestWhatIsSent. We scan all of it where older plugins had options to scan less
//	80-82        TestErrorsOfTheUpstreamPassAsTheyAre
//	85-87        TestOddBodiesGetAStatusOfOurs; 87 also TestBlankTextsAreNotSent
//	89-102       TestMCP; 89, 91-93 also TestBatches and TestPayloads. 92 is refused at our number of scans, 16
//	103          TestMethodsWithoutABodyPass
//	104          TestPayloads: mcp-call
//	105, 106, 108, 110  TestMaskingInJSON
//	107, 111, 112       TestMasks, TestMaskedTextThatChangesNothingIsABlock
//	109          TestMaskingInStreams; 112 too
//	113-117      do not apply: the answers of other products. Ours are in TestBlocksInTheFormatOfTheAPI; 116 and 117 are
//	             refusals with status 200, which clients take for an answer
//	118          TestProfileByClaim; through Kong: TestOnlyVerifiedTokensChooseTheProfile
package airs_test
