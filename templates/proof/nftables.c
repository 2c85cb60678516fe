/* Run in a container by `kata-toolkit verify`: makes a table, a chain that packets pass, and a rule, and has the kernel
 * list the table. As nft(8) would, but static and small. Needs CAP_NET_ADMIN; works in a network namespace of its own.
 * Prints "ok", or what failed. The messages: linux/netfilter/nf_tables.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

enum { FAMILY = NFPROTO_INET, ROOM = 4096 };

static union {
    char bytes[ROOM];
    struct nlmsghdr aligned;
} batch;
static size_t used;

static struct nlmsghdr *begin(unsigned type, unsigned flags, unsigned family, unsigned id, unsigned resource)
{
    struct nlmsghdr *message = (struct nlmsghdr *)(batch.bytes + used);
    struct nfgenmsg *general = NLMSG_DATA(message);
    message->nlmsg_len = NLMSG_LENGTH(sizeof *general);
    message->nlmsg_type = (uint16_t)type;
    message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    message->nlmsg_seq = id;
    general->nfgen_family = (uint8_t)family;
    general->res_id = (uint16_t)(resource >> 8 | resource << 8);
    return message;
}

static void end(struct nlmsghdr *message)
{
    used += NLMSG_ALIGN(message->nlmsg_len);
}

static struct nlattr *attribute(struct nlmsghdr *message, unsigned type, const void *data, size_t size)
{
    struct nlattr *found = (struct nlattr *)((char *)message + NLMSG_ALIGN(message->nlmsg_len));
    found->nla_type = (uint16_t)type;
    found->nla_len = (uint16_t)(NLA_HDRLEN + size);
    if (size)
        memcpy((char *)found + NLA_HDRLEN, data, size);
    message->nlmsg_len = (uint32_t)(NLMSG_ALIGN(message->nlmsg_len) + NLA_ALIGN(found->nla_len));
    return found;
}

static void text(struct nlmsghdr *message, unsigned type, const char *value)
{
    attribute(message, type, value, strlen(value) + 1);
}

static void number(struct nlmsghdr *message, unsigned type, uint32_t value)
{
    unsigned char big[4] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16), (unsigned char)(value >> 8),
        (unsigned char)value};
    attribute(message, type, big, sizeof big);
}

static void close_nest(struct nlmsghdr *message, struct nlattr *nest)
{
    nest->nla_type |= NLA_F_NESTED;
    nest->nla_len = (uint16_t)((char *)message + NLMSG_ALIGN(message->nlmsg_len) - (char *)nest);
}

static unsigned nft(unsigned message)
{
    return NFNL_SUBSYS_NFTABLES << 8 | message;
}

static int failed(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    return 1;
}

/* A table, a chain on the way out, and a rule that counts and lets pass. */
static void fill(void)
{
    struct nlmsghdr *message = begin(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, 0, NFNL_SUBSYS_NFTABLES);
    end(message);
    message = begin(nft(NFT_MSG_NEWTABLE), NLM_F_CREATE | NLM_F_ACK, FAMILY, 1, 0);
    text(message, NFTA_TABLE_NAME, "proof");
    end(message);
    message = begin(nft(NFT_MSG_NEWCHAIN), NLM_F_CREATE | NLM_F_ACK, FAMILY, 2, 0);
    text(message, NFTA_CHAIN_TABLE, "proof");
    text(message, NFTA_CHAIN_NAME, "out");
    struct nlattr *hook = attribute(message, NFTA_CHAIN_HOOK, NULL, 0);
    number(message, NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_OUT);
    number(message, NFTA_HOOK_PRIORITY, 0);
    close_nest(message, hook);
    text(message, NFTA_CHAIN_TYPE, "filter");
    end(message);
    message = begin(nft(NFT_MSG_NEWRULE), NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, FAMILY, 3, 0);
    text(message, NFTA_RULE_TABLE, "proof");
    text(message, NFTA_RULE_CHAIN, "out");
    struct nlattr *list = attribute(message, NFTA_RULE_EXPRESSIONS, NULL, 0);
    struct nlattr *element = attribute(message, NFTA_LIST_ELEM, NULL, 0);
    text(message, NFTA_EXPR_NAME, "counter");
    close_nest(message, element);
    close_nest(message, list);
    end(message);
    message = begin(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, 4, NFNL_SUBSYS_NFTABLES);
    end(message);
}

/* The answers to messages 1 to last; 0 when all are "done". */
static int acknowledged(int netlink, unsigned last)
{
    static union {
        char bytes[ROOM];
        struct nlmsghdr aligned;
    } answer;
    for (unsigned seen = 0; seen < last;) {
        ssize_t got = recv(netlink, answer.bytes, sizeof answer.bytes, 0);
        if (got < 0)
            return -1;
        int left = (int)got;
        for (struct nlmsghdr *at = &answer.aligned; NLMSG_OK(at, (unsigned)left); at = NLMSG_NEXT(at, left)) {
            const struct nlmsgerr *error = NLMSG_DATA(at);
            if (at->nlmsg_type != NLMSG_ERROR)
                continue;
            if (error->error) {
                errno = -error->error;
                return -1;
            }
            seen++;
        }
    }
    return 0;
}

int main(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        return failed("a network namespace");
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (netlink < 0)
        return failed("a netfilter socket");
    fill();
    if (send(netlink, batch.bytes, used, 0) < 0)
        return failed("sending the rules");
    if (acknowledged(netlink, 3) < 0)
        return failed("making a table, a chain and a rule");
    used = 0;
    struct nlmsghdr *question = begin(nft(NFT_MSG_GETRULE), NLM_F_DUMP, FAMILY, 9, 0);
    end(question);
    char answer[ROOM];
    if (send(netlink, batch.bytes, used, 0) < 0)
        return failed("asking for the rules");
    ssize_t got = recv(netlink, answer, sizeof answer, 0);
    if (got < 0)
        return failed("reading the rules");
    if (!memmem(answer, (size_t)got, "proof", 6) || !memmem(answer, (size_t)got, "counter", 8)) {
        puts("the kernel does not list the rule that was made");
        return 1;
    }
    puts("ok");
    return 0;
}
