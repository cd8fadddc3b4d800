; Launch and end of a run; units, tokens, and what is wrong with an instruction by itself.

; After power-on and the reset of the device. The host waits for SIG, after a write to `reset`, too.
start:  mov @insn_count, #0
        mov @insn_base, #0
        mov @uop_base, #0
        mov @inp_base, #0
        mov @wgt_base, #0
        mov @acc_base, #0
        mov @out_base, #0
        mov @watchdog, =WATCHDOG
        mov busy, #0
boot:   mov @control, #0
        mov @status, #0
        mov @error_insn, =-1
        mov l2g, #0
        mov g2l, #0
        mov g2s, #0
        mov s2g, #0
        sig #RESETTING
idle:   bf #RESET, reset
        bf #LAUNCH, launch
        j idle
reset:  beq busy, #0, boot
        sig #0
busy0:  bf #ANSWER, busy1           ; what is on the bus is completed
        j busy0
busy1:  take t0
        mov busy, #0
        j boot

launch: sig #LAUNCHED
        and t0, @status, #15
        bne t0, #0, idle            ; after an error only a reset helps
        mov @control, #1
        mov @status, =0x100
        mov @user, #0
        mov first0, #0
        mov first1, #0
        mov first2, #0
        mov finished, #0
        time began
round:  mov moved, #0
        mov oldest, =-1
        mov unit, #0
        mov index, first0
        jal go
        mov first0, index
        mov unit, #1
        mov index, first1
        jal go
        mov first1, index
        mov unit, #2
        mov index, first2
        jal go
        mov first2, index
        bne moved, #0, round
        mov fault, #DEADLOCK
        mov index, oldest
        bne oldest, =-1, fail       ; somebody waits, and nobody moves
        mov fault, #NO_FINISH
        beq finished, #0, fail
        mov fault, #0
        j end
fail:   mov @error_insn, index
end:    time t0
        sub @cycles, t0, began
        or t0, fault, =0x200
        mov @status, t0
        mov @control, #2
        sig #INTERRUPT_LAUNCHED
        j idle

; A unit goes on from its instruction `index` until it has to wait, or has none left.
go:     mov back, link
next:   bf #RESET, reset
        bgeu index, @insn_count, gone
        shl at, index, #4
        and t0, @insn_base, =-16
        add at, at, t0
        bltu at, t0, no_bus
        jal read
        mov w0, data
        and op, w0, #7
        shr kind, w0, #7
        and kind, kind, #7
        mov t0, #2
        beq op, #STORE, found
        mov t0, #1
        beq op, #LOAD, loads
        bne op, #LOAD_PAD, found
loads:  beq kind, #WGT, loads0
        bne kind, #INP, found
loads0: mov t0, #0
found:  beq t0, unit, mine
        add index, index, #1
        j next

mine:   shr flags, w0, #3           ; pop_prev, pop_next, push_prev, push_next
        and flags, flags, #15
        mov none, #0                ; flags that the unit does not have
        mov t0, l2g
        mov t1, s2g
        beq unit, #1, tokens
        mov t0, g2s
        mov none, #10
        beq unit, #2, tokens
        mov t1, g2l
        mov none, #5
tokens: or t2, none, flags
        sub t2, t2, none            ; those that are taken or posted
        and t3, t2, #1
        beq t3, #0, taken0
        beq t0, #0, waits
taken0: and t3, t2, #2
        beq t3, #0, taken1
        beq t1, #0, waits
taken1: mov fault, #ILLEGAL_OPCODE
        beq op, #ILLEGAL, fail
        and t0, flags, none
        mov fault, #ILLEGAL_TOKEN
        bne t0, #0, fail
        beq op, #FINISH, finish
        add at, at, #4
        jal read
        mov w1, data
        add at, at, #4
        jal read
        mov w2, data
        add at, at, #4
        jal read
        mov w3, data
        beq op, #GEMM, loops
        beq op, #DEPTHWISE, loops
        beq op, #ALU, loops
        j move
finish: mov finished, #1
complete:
        and t0, flags, #1
        shr t1, flags, #1
        and t1, t1, #1
        shr t2, flags, #2
        and t2, t2, #1
        shr t3, flags, #3
        beq unit, #1, post1
        beq unit, #2, post2
        sub g2l, g2l, t1
        add l2g, l2g, t3
        j posted
post1:  sub l2g, l2g, t0
        sub s2g, s2g, t1
        add g2l, g2l, t2
        add g2s, g2s, t3
        j posted
post2:  sub g2s, g2s, t0
        add s2g, s2g, t2
posted: add index, index, #1
        mov moved, #1
        j next
waits:  bgeu index, oldest, gone
        mov oldest, index
gone:   jr back

; DRAM: a word at `at`, to or from `data`.
write:  xwr at, data
        j wait
read:   xrd at
wait:   bf #ANSWER, answer
        time u0
wait0:  bf #ANSWER, answer
        beq @watchdog, #0, wait0
        time u1
        sub u1, u1, u0
        bltu u1, @watchdog, wait0
        mov busy, #1
        mov fault, #DEADLOCK
        mov index, =-1
        j fail
answer: take data
        bf #ERROR, no_bus
        jr link
no_bus: mov fault, #BUS_ERROR
        j fail
